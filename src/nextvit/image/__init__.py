"""Images, boxes, masks and class maps in numpy and Pillow."""
