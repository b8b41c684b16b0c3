"""A model's card, the manifest of an exported bundle, its golden examples, and its signature."""
