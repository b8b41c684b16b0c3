"""Small real objects that several test files share."""
