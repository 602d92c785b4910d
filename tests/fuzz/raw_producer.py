"""A producer that sends header names of any bytes, as clients in other languages can.

Goes past confluent-kafka, which takes only text, to the C library that it brings along.
Source: rdkafka.h, `rd_kafka_producev` and `rd_kafka_headers_t`.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_PRODUCER = 0
_END, _TOPIC, _PARTITION, _VALUE, _HEADERS = 0, 1, 3, 4, 10  # rd_kafka_vtype_t
_ERROR_BYTES = 512
_FLUSH_MS = 10_000


def send(
    bootstrap_servers: str, topic: str, value: bytes, headers: Sequence[tuple[bytes, bytes | None]], *, partition: int
) -> None:
    """Send one message and wait until it is acknowledged."""
    library = _library()
    error = ctypes.create_string_buffer(_ERROR_BYTES)
    settings = ctypes.c_void_p(library.rd_kafka_conf_new())
    library.rd_kafka_conf_set(settings, b"bootstrap.servers", bootstrap_servers.encode(), error, len(error))
    producer = ctypes.c_void_p(library.rd_kafka_new(_PRODUCER, settings, error, ctypes.c_size_t(len(error))))
    assert producer, error.value
    given = ctypes.c_void_p(library.rd_kafka_headers_new(ctypes.c_size_t(len(headers))))
    for name, text in headers:
        sizes = ctypes.c_ssize_t(len(name)), ctypes.c_ssize_t(-1 if text is None else len(text))
        assert library.rd_kafka_header_add(given, name, sizes[0], text, sizes[1]) == 0
    failed = library.rd_kafka_producev(
        producer,
        _TOPIC, ctypes.c_char_p(topic.encode()),
        _PARTITION, ctypes.c_int32(partition),
        _VALUE, ctypes.c_char_p(value), ctypes.c_size_t(len(value)),
        _HEADERS, given,
        _END,
    )  # fmt: skip
    assert not failed
    assert library.rd_kafka_flush(producer, _FLUSH_MS) == 0
    library.rd_kafka_destroy(producer)


def _library() -> ctypes.CDLL:
    files = importlib.metadata.files("confluent-kafka") or ()
    (path,) = (file.locate() for file in files if file.match("confluent_kafka.libs/librdkafka*"))
    library = ctypes.CDLL(str(path))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(library, name).restype = ctypes.c_void_p
    return library
