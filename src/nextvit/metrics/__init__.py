"""How good answers are, in numpy."""
