"""Start, stop and environment of the programs."""
