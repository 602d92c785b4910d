"""A record's headers, whatever bytes their names are.

Kafka calls the names text but checks nothing, and clients in other languages send any bytes. The Python client
then fails with `SystemError`, for all headers of the record, and a second call would hand out a list with a hole
that crashes the process. One such message must not stop its partition.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from allocation.service_layer import messages

if TYPE_CHECKING:
    import confluent_kafka

_LOST: messages.Headers = ((messages.UNREADABLE_HEADERS, b"a name is no UTF-8"),)

# Not as a plain call: in a loop that is hot the interpreter takes a short cut, which does not look whether a function
# of C has failed that returned something all the same. The error then strikes whatever is called next.
_headers_of = operator.methodcaller("headers")


def read(message: confluent_kafka.Message) -> messages.Headers:
    """Return the headers, or one that says that they cannot be read; to be called once for a message."""
    try:
        found: Any = _headers_of(message)  # pairs of name and bytes, whatever the stubs allow for sending
    except (SystemError, UnicodeDecodeError):
        return _LOST
    return tuple(found or ())
