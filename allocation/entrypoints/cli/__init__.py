"""The command `allocation`, one module a group of commands."""
