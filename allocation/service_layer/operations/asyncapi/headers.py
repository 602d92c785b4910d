"""The headers of our messages as JSON schemas: CloudEvents 1.0, Kafka binding, binary mode, and our own."""

from __future__ import annotations

from typing import Any

from allocation.service_layer import envelopes, messages

Schema = dict[str, Any]

AVRO = "application/avro"
_DECIMAL = "^[0-9]+$"
_TRACE = "W3C trace context"


def of_command(record_name: str) -> Schema:
    """Return the headers of a command; it needs none."""
    return {
        "type": "object",
        "description": "All optional. A command without ce_id is known by where it lies: topic id, partition, offset.",
        "properties": {
            messages.CE_ID: _text("The command's identity, with ce_source: the same again changes nothing."),
            messages.CE_SOURCE: _text("Who sent it."),
            **_common(record_name),
            messages.TRACEPARENT: _text(f"{_TRACE}; the events go on with it."),
            messages.NO_GRACE: _text("Present: do not wait for a batch that may still come, refuse at once."),
            messages.ATTEMPT: _text("Which attempt at the same command this is, from 1; on redriven ones.", _DECIMAL),
        },
    }


def of_event(record_name: str) -> Schema:
    """Return the headers of an event; all are there, but the mark of one that is resent."""
    always = {
        messages.CE_ID: {**_text("Follows from its cause: the same after any crash or replay."), "format": "uuid"},
        messages.CE_SOURCE: {"type": "string", "const": envelopes.EVENT_SOURCE},
        **_common(record_name),
        messages.CE_SEQUENCE: _text("Its number among the events of its sku, from 1 without a gap.", _DECIMAL),
        messages.CE_CAUSATIONID: _text("The id of the command that caused it."),
        messages.TRACEPARENT: _text(f"{_TRACE}, that of the command."),
    }
    resent = _text("Present: it was announced before, and is there again for those who keep what it says.")
    return {"type": "object", "required": list(always), "properties": {**always, messages.RESENT: resent}}


def of_dead_letter() -> Schema:
    """Return the headers that a dead letter has beside those of its original."""
    always = {
        "dead_letter_reason": _text("A stable word: undecodable, invalid_sku, conflict and so on."),
        "dead_letter_error": _text("A sentence for people."),
        "dead_letter_topic": _text("The topic that it came from."),
        "dead_letter_topic_id": _text("The id of that topic."),
        "dead_letter_partition": _text("Where it lies there.", _DECIMAL),
        "dead_letter_offset": _text("Where it lies there.", _DECIMAL),
        "dead_letter_attempt": _text("Which attempt was refused, from 1.", _DECIMAL),
    }
    at_times = {
        "dead_letter_class": _text("The class of an unexpected error."),
        "dead_letter_stack": _text("Where in the code that was."),
        "dead_letter_time": {**_text("When it was refused."), "format": "date-time"},
    }
    return {"type": "object", "required": list(always), "properties": {**always, **at_times}}


def of_journal_row() -> Schema:
    """Return the headers of a row of the journal."""
    since = _text("When the oldest of these commands was sent (Unix time, milliseconds).", _DECIMAL)
    return {
        "type": "object",
        "description": "None where nothing was read from a log: what had waited was released or refused.",
        "properties": {messages.COMMANDS_SINCE: since},
    }


def _common(record_name: str) -> Schema:
    return {
        messages.CE_TYPE: {"type": "string", "const": f"allocation.{record_name}"},
        messages.CE_TIME: {"type": "string", "format": "date-time"},
        messages.CE_SPECVERSION: {"type": "string", "const": "1.0"},
        messages.CONTENT_TYPE: {"type": "string", "const": AVRO},
    }


def _text(description: str, pattern: str | None = None) -> Schema:
    return {"type": "string", "description": description, **({"pattern": pattern} if pattern else {})}
