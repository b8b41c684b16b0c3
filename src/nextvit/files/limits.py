"""Limits of what is read from YAML and JSON that anybody may have written."""

MAX_DEPTH = 100
"""Levels of lists and mappings inside one another. Python itself ends at about 1000."""
MAX_INTEGER = 2**63 - 1
"""The largest absolute value of an integer."""
