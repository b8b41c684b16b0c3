"""One writer for each format and precision: a captured network goes in, model files come out."""
