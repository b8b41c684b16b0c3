"""Other annotation formats, written anew in COCO's."""
