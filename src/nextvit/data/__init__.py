"""From folders and lists of images to batches."""
