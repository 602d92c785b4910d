"""Where processes begin: they read settings, take parts from the composition root, and run until told to stop."""
