"""`NOTIFY` after each micro-batch: a hint for the relay and the API, never a message of its own."""

from __future__ import annotations

CHANNEL = "allocation"
NOTIFY = f"NOTIFY {CHANNEL}"
