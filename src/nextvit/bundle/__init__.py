"""What a model says of itself: its card, the manifest of an exported bundle, and its signature."""
