"""The e-mail to the buying team, on a real SMTP server in this process."""

from __future__ import annotations

import contextlib
import email
import email.policy
import queue
import ssl
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd import controller, smtp

from allocation import bootstrap
from allocation.adapters.email import mailer
from allocation.devstack import ports as ports_of_this_machine
from allocation.service_layer import external_events, ports
from allocation.service_layer.bridging.ports import Announcement
from tests import certificates
from tests.integration import bridge_outside as outside

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from allocation import config


class Inbox:
    """What the server took; `answers` are its next answers to a message, 250 when there is none left."""

    def __init__(self) -> None:
        self.mails: queue.Queue[EmailMessage] = queue.Queue()
        self.answers: list[str] = []
        self.recipients: list[str] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        answer = self.answers.pop(0) if self.answers else "250 OK"
        if answer.startswith("250"):
            mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
            assert isinstance(mail, EmailMessage)
            self.recipients.extend(envelope.rcpt_tos)
            self.mails.put(mail)
        return answer

    def next(self) -> EmailMessage:
        return self.mails.get(timeout=outside.PATIENCE_S)


@contextlib.contextmanager
def a_mail_server(inbox: Inbox, address: str, **options: Any) -> Iterator[None]:
    host, _, port = address.partition(":")
    # Without a name of its own it asks the name servers for one, which may take longer than it is waited for.
    server = controller.Controller(
        inbox, hostname=host, port=int(port), ready_timeout=60, server_hostname="localhost", **options
    )
    server.start()
    try:
        yield
    finally:
        server.stop()


def out_of_stock(sku: str = "LAMP", *, orderid: str = "o1") -> Announcement:
    return Announcement("event-1", external_events.OutOfStock(sku=sku, orderid=orderid, qty=3))


def a_mailer(url: str) -> mailer.Mailer:
    return mailer.Mailer(url=url, sender="allocations@example.com", recipient="stock@example.com")


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def address() -> str:
    """Where a mail server may be started."""
    return f"127.0.0.1:{ports_of_this_machine.pick(1)[0]}"


def test_the_buying_team_hears_which_sku_is_out_of_stock(inbox: Inbox, address: str) -> None:
    with a_mail_server(inbox, address):
        assert a_mailer(f"smtp://{address}").deliver([out_of_stock()]) == 1

    mail = inbox.next()
    assert mail["Subject"] == "Out of stock for LAMP"
    assert mail["From"] == "allocations@example.com"
    assert mail["To"] == "stock@example.com"
    assert mail["Message-ID"] == "<event-1@allocation>"
    assert inbox.recipients == ["stock@example.com"]
    assert "No batch of LAMP has room for the 3 pieces of order o1." in mail.get_content()


def test_an_odd_sku_cannot_add_headers(inbox: Inbox, address: str) -> None:
    with a_mail_server(inbox, address):
        a_mailer(f"smtp://{address}").deliver([out_of_stock("LÄMP\x07\r\nBcc: all@example.com")])

    mail = inbox.next()
    assert mail["Subject"] == "Out of stock for LÄMP   Bcc: all@example.com"
    assert mail["Bcc"] is None


def test_many_are_sent_in_one_session_and_counted(inbox: Inbox, address: str) -> None:
    with a_mail_server(inbox, address):
        sent = a_mailer(f"smtp://{address}").deliver([out_of_stock(f"SKU-{number}") for number in range(50)])

    assert sent == mailer.SESSION_MESSAGES == inbox.mails.qsize()


def test_a_message_that_is_refused_for_good_holds_up_none(inbox: Inbox, address: str) -> None:
    inbox.answers = ["554 this smells of spam"]
    with a_mail_server(inbox, address):
        assert a_mailer(f"smtp://{address}").deliver([out_of_stock("SPAM"), out_of_stock("LAMP")]) == 2

    assert inbox.next()["Subject"] == "Out of stock for LAMP"


def test_what_was_sent_before_a_failure_counts(inbox: Inbox, address: str) -> None:
    inbox.answers = ["250 OK", "451 come back later"]
    with a_mail_server(inbox, address):
        assert a_mailer(f"smtp://{address}").deliver([out_of_stock("LAMP"), out_of_stock("SOFA")]) == 1
        inbox.answers = ["451 come back later"]
        with pytest.raises(ports.DependencyDown, match="come back later"):
            a_mailer(f"smtp://{address}").deliver([out_of_stock("SOFA")])


def test_no_server_is_an_outage() -> None:
    with pytest.raises(ports.DependencyDown, match=r"127\.0\.0\.1 does not take our e-mail: .*refused"):
        a_mailer("smtp://127.0.0.1:1").deliver([out_of_stock()])


@pytest.fixture
def certificate(tmp_path: pathlib.Path) -> pathlib.Path:
    return certificates.write(tmp_path / "certificate.pem")


@pytest.fixture
def tls(certificate: pathlib.Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def only_shop_may(_server: Any, _session: Any, _envelope: Any, _mechanism: str, login: Any) -> smtp.AuthResult:
    return smtp.AuthResult(success=login == smtp.LoginPassword(b"shop", b"s:cret"), handled=False)


def test_starttls_is_used_where_it_is_offered(inbox: Inbox, address: str, tls: ssl.SSLContext) -> None:
    with a_mail_server(inbox, address, tls_context=tls, require_starttls=True):
        assert a_mailer(f"smtp://{address}").deliver([out_of_stock()]) == 1


def test_name_and_password_of_the_url_are_shown_to_a_server_that_is_trusted(
    inbox: Inbox, address: str, tls: ssl.SSLContext, certificate: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with a_mail_server(inbox, address, tls_context=tls, authenticator=only_shop_may, auth_required=True):
        assert a_mailer(f"smtp://shop:s%3Acret@{address}").deliver([out_of_stock()]) == 1
        with pytest.raises(ports.DependencyDown, match="Authentication"):
            a_mailer(f"smtp://shop:wrong@{address}").deliver([out_of_stock()])


def test_a_password_is_not_shown_to_a_server_that_nobody_trusts(
    inbox: Inbox, address: str, tls: ssl.SSLContext
) -> None:
    with (
        a_mail_server(inbox, address, tls_context=tls, authenticator=only_shop_may, auth_required=True),
        pytest.raises(ports.DependencyDown, match="certificate verify failed"),
    ):
        a_mailer(f"smtp://shop:s%3Acret@{address}").deliver([out_of_stock()])


def test_smtps_speaks_tls_from_the_first_byte(
    inbox: Inbox, address: str, tls: ssl.SSLContext, certificate: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with a_mail_server(inbox, address, ssl_context=tls):
        assert a_mailer(f"smtps://{address}").deliver([out_of_stock()]) == 1


def test_out_of_stock_on_kafka_is_an_email_and_a_broken_mail_server_does_not_stop_redis(
    initialised: config.Settings, inbox: Inbox, address: str
) -> None:
    settings = initialised.model_copy(update={"smtp_url": f"smtp://{address}"})
    bootstrap.establish_bridge(settings)
    shortage = {"sku": "LAMP", "orderid": "o1", "qty": 3}
    allocation = {"orderid": "o2", "sku": "LAMP", "qty": 1, "batchref": "batch-1"}
    with (
        outside.programs(settings) as programs,
        outside.announcing(settings) as announcer,
        outside.a_bridge(settings),
    ):
        announcer.announce(shortage, allocation)
        assert programs.next_allocation() == allocation
        with a_mail_server(inbox, address):
            assert inbox.next()["Subject"] == "Out of stock for LAMP"
