"""Images, boxes, masks and maps of classes in numpy and Pillow."""
