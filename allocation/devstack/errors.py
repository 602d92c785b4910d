"""The one error of the local stack: a sentence that names the part, the fact and the remedy."""

from __future__ import annotations


class DevstackError(Exception):
    """A part of the local stack could not be fetched, started or stopped; the message says what to do."""
