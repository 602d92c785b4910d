"""The demonstration: a system of its own, and a story that is told with real messages from outside of it.

What the story claims is looked up where anyone could: on the topics, on Redis, over HTTP. A claim that
does not hold ends it with an error.
"""
