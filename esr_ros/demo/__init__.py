"""A moving photograph, as a camera or as a bag."""
