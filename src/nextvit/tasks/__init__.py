"""Where model, data, loss and metric meet."""
