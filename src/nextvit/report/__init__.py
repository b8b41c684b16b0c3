"""The HTML pages and figures that runs, exports and benchmarks leave behind."""
