"""The HTTP API, for those who need an answer at once.

There is one way in: a call puts its command on the Kafka topic, as anyone would, and waits for the
outcome that the worker's transaction announces. Nothing here writes to the database.
"""
