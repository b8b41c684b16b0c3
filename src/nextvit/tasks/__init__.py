"""Where model, data, losses and metrics meet."""
