"""Look at a whole installation each second, for whoever watches: the console and `allocation top`."""
