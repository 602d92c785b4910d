"""What the service does with a message: use cases and the ports that they need, no technology."""
