"""The service without one of its remedies each: `python -m tests.chaos.broken VARIANT PART`.

The oracle is worth what it sees. Each variant takes out what stands against one fault, and nothing else.
"""
