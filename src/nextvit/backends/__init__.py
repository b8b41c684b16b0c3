"""One writer for each format and precision: from the captured network to files."""
