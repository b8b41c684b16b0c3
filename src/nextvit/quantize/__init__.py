"""int8: real images to calibrate with, and one quantiser for each backend."""
