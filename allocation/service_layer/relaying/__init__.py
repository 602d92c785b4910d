"""The relay: what is in the outbox reaches its topic once, in the order of each sku."""
