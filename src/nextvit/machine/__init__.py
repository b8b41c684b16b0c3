"""Where it runs: environment, timing, quiet libraries."""
