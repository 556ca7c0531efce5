"""`bag_player`: publish a bag in the time of its messages."""
