"""Training: settings, optimizer, schedule, averaged weights, checkpoints, and the loop that reads top to bottom."""
