"""The machine: its description, timing of code on it, and suppressed output of libraries."""
