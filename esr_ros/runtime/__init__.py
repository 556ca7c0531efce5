"""Start and end of a program, and the Fast DDS environment."""
