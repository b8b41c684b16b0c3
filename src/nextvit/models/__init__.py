"""The network: its configuration, its parts, its deployment form, its checkpoints, its cost."""
