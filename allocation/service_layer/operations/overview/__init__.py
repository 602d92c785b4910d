"""One look at a whole installation: the figures that the console and `allocation top` share."""
