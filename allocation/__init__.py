"""Decide which batch of stock serves which order line, over Kafka, exactly once."""

__version__ = "0.1.0"
