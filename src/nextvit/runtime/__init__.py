"""Running what was exported: numpy, Pillow and one runtime. Nothing here needs torch, but `torch_session`."""
