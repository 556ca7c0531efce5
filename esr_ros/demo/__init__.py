"""A photograph that moves, as a camera or as a bag."""
