"""One conversation with a mail server: to an address that is allowed, encrypted before anything is said, and over at
its deadline however slowly the server talks."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from connectors.http.allow import Network, checked
from connectors.http.wire import resolve
from connectors.protocol import (
    AuthFailed,
    ConnectorError,
    Misdeclared,
    Rejected,
    SystemFault,
    Transient,
    Unreachable,
)

Security = Literal["starttls", "tls", "none"]
DEADLINE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where mail is handed in."""

    host: str
    port: int
    security: Security
    network: Network
    ca_file: str | None = None


class _Smtp(smtplib.SMTP):
    """smtplib over a socket that was opened by our rules."""

    def __init__(self, opened: Callable[[], socket.socket], server: Server, seconds: float) -> None:
        self._opened = opened
        super().__init__(server.host, server.port, local_hostname=socket.gethostname(), timeout=seconds)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._opened()


@contextmanager
def dialogue(server: Server, login: tuple[str, str] | None, where: str) -> Iterator[smtplib.SMTP]:
    """A server that has let us in. Raises ConnectorError, also for what goes wrong inside."""
    until = time.monotonic() + DEADLINE_SECONDS
    try:
        with _bounded(_Smtp(lambda: _connected(server, until), server, DEADLINE_SECONDS), until) as smtp:
            if server.security == "starttls":
                smtp.starttls(context=_trust(server))
            smtp.ehlo()
            if login:
                smtp.login(*login)
            yield smtp
    except ConnectorError:
        raise
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise meaning(error, server, where) from None


@contextmanager
def _bounded(smtp: smtplib.SMTP, until: float) -> Iterator[smtplib.SMTP]:
    """The conversation's sockets are shut at the deadline: single waits are bounded, a server that drips is not."""

    def shut() -> None:
        with contextlib.suppress(OSError):
            if smtp.sock is not None:
                smtp.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, until - time.monotonic()), shut)
    timer.daemon = True
    timer.start()
    try:
        yield smtp
        with contextlib.suppress(smtplib.SMTPException, OSError):
            smtp.quit()
    finally:
        timer.cancel()
        smtp.close()


def _connected(server: Server, until: float) -> socket.socket:
    """A socket to the first of the allowed addresses that answers, encrypted where TLS comes first."""
    failure: OSError | None = None
    for address in checked(resolve(server.host, server.port, DEADLINE_SECONDS), server.network, server.host):
        try:
            made = socket.create_connection((address, server.port), max(0.1, until - time.monotonic()))
        except OSError as error:
            failure = error
            continue
        if server.security == "tls":
            return _trust(server).wrap_socket(made, server_hostname=server.host)
        return made
    raise failure or OSError("no address")


def _trust(server: Server) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if server.ca_file:
        context.load_verify_locations(server.ca_file)
    return context


def meaning(error: Exception, server: Server, where: str) -> ConnectorError:
    """What a refusal or a silence stands for; what the server said is left out, as it may repeat addresses."""
    status = _code(error)
    match error:
        case ssl.SSLCertVerificationError():
            return Unreachable(f"its certificate is not trusted for {server.host}", where=where)
        case ssl.SSLError():
            return Misdeclared(f"expected TLS at port {server.port} (security: {server.security})", where=where)
        case smtplib.SMTPNotSupportedError():
            what = "STARTTLS" if server.security == "starttls" else "a login"
            return Misdeclared(f"it offers no {what}, and nothing is sent without", where=where)
        case smtplib.SMTPServerDisconnected() | TimeoutError():
            return Transient("the conversation broke off or took too long", where=where)
        case smtplib.SMTPException() if status is None or status // 100 == 4:
            return Transient(f"not available now{f' ({status})' if status else ''}", where=where, status=status)
        case smtplib.SMTPAuthenticationError():
            return AuthFailed(f"the login was refused ({status})", where=where, status=status)
        case smtplib.SMTPException() if status in (530, 534, 535, 538):
            return AuthFailed(f"it asks for a login ({status})", where=where, status=status)
        case smtplib.SMTPSenderRefused():
            return Misdeclared(f"the sender (from:) was refused ({status})", where=where, status=status)
        case smtplib.SMTPRecipientsRefused():
            return Misdeclared(f"every recipient was refused ({status})", where=where, status=status)
        case smtplib.SMTPDataError():
            return Rejected(f"the message was refused ({status})", where=where, status=status)
        case smtplib.SMTPException():
            return SystemFault(f"it does not talk to us ({status})", where=where, status=status)
        case ValueError():
            return Misdeclared("an address that cannot stand in an e-mail", where=where)
    return Transient(f"no connection ({type(error).__name__})", where=where)


def _code(error: Any) -> int | None:
    """The server's three digits; of several recipients the mildest, so that what may pass later is tried again."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return min((int(code) for code, _ in error.recipients.values()), default=None)
    code = getattr(error, "smtp_code", None)
    return int(code) if isinstance(code, int) and code > 0 else None
