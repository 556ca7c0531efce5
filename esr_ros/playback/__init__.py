"""``bag_player``: publish a bag at the pace of the recording."""
