"""Tasks, each of which connects model, data, losses and metrics."""
