"""The networks: configurations, layers, heads, losses, deployment form, checkpoints, cost."""
