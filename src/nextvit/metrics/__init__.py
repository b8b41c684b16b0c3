"""Scores of predictions against ground truth, in numpy."""
