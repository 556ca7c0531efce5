"""The HTML report of a recording."""
