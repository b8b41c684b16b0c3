"""From a trained model to a bundle that is proven equal to it."""
