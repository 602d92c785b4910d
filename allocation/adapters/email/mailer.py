"""Tell the buying team, by SMTP, that a SKU is out of stock.

A refused message (RFC 5321, 4.2.1: a 5yz answer to its data) would be refused again and hold up all
that follow: it is logged and passed over. Anything else, a wrong address or password included, is
tried until somebody has mended it.
"""

from __future__ import annotations

import contextlib
import smtplib
import ssl
import urllib.parse
from email import message, policy, utils
from typing import TYPE_CHECKING

import structlog

from allocation.service_layer import external_events, ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from allocation.service_layer.bridging import ports as bridging

log = structlog.get_logger()

TIMEOUT_S = 20.0  # per answer; a server that looks for spam takes its time, and would get a second copy
SESSION_MESSAGES = 20  # after so many a session is closed, so that the position is stored now and then
_PERMANENT = 500


class Mailer:
    """Implements `bridging.ports.Sink`; `url` is smtp:// (STARTTLS where it is offered) or smtps://."""

    def __init__(self, *, url: str, sender: str, recipient: str) -> None:
        self._url = urllib.parse.urlsplit(url)
        self._sender = sender
        self._recipient = recipient

    def deliver(self, announcements: Sequence[bridging.Announcement]) -> int:
        """Send the first few in one session; return how many. Raises `DependencyDown`."""
        sent = 0
        try:
            with self._session() as session:
                for announcement in announcements[:SESSION_MESSAGES]:
                    self._send(session, announcement)
                    sent += 1
        except OSError as error:  # smtplib's errors are such, too
            if not sent:
                msg = f"the mail server {self._url.hostname} does not take our e-mail: {error}"
                raise ports.DependencyDown(msg) from error
        return sent

    @contextlib.contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        host, port = self._url.hostname or "localhost", self._url.port or 0
        if self._url.scheme == "smtps":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                host, port, timeout=TIMEOUT_S, context=ssl.create_default_context()
            )
        else:
            connection = smtplib.SMTP(host, port, timeout=TIMEOUT_S)
        with connection as session:
            if self._url.scheme == "smtp":
                self._encrypt(session)
            if self._url.username is not None:
                session.login(urllib.parse.unquote(self._url.username), urllib.parse.unquote(self._url.password or ""))
            yield session

    def _encrypt(self, session: smtplib.SMTP) -> None:
        """Use TLS where it is offered; who it is matters once we show a password (RFC 7435)."""
        session.ehlo_or_helo_if_needed()
        if session.has_extn("starttls"):
            context = ssl.create_default_context()
            if self._url.username is None:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            session.starttls(context=context)

    def _send(self, session: smtplib.SMTP, announcement: bridging.Announcement) -> None:
        try:
            session.send_message(self._message(announcement))
        except smtplib.SMTPDataError as error:
            if error.smtp_code < _PERMANENT:
                raise
            log.warning("bridge.email.refused", message_id=announcement.id, code=error.smtp_code, error=str(error))

    def _message(self, announcement: bridging.Announcement) -> message.EmailMessage:
        event = announcement.event
        if not isinstance(event, external_events.OutOfStock):
            msg = f"no e-mail is written about {event}"
            raise TypeError(msg)
        mail = message.EmailMessage(policy.SMTP)
        mail["From"] = self._sender
        mail["To"] = self._recipient
        mail["Subject"] = f"Out of stock for {_one_line(event.sku)}"
        mail["Date"] = utils.localtime()
        mail["Message-ID"] = f"<{urllib.parse.quote(announcement.id)}@allocation>"
        mail.set_content(
            f"Out of stock for {event.sku}\n\n"
            f"No batch of {event.sku} has room for the {event.qty} pieces of order {event.orderid}.\n"
            "The line stays unallocated.\n"
        )
        return mail


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
