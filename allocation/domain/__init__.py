"""The business decision: pure Python, no I/O, no clock, no random source."""
