"""The answer of a browser: caught on loopback, or pasted; never taken from somebody else."""

from __future__ import annotations

import io
import socket
import threading
import time
import urllib.error
import urllib.request

import pytest

from apps import redirect
from apps.exits import Stop


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def visit(url: str) -> int:
    for _ in range(200):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            refused.close()
            return refused.code
        except OSError:
            time.sleep(0.02)
    return 0


def test_only_the_answer_with_our_state_at_our_path_is_taken() -> None:
    port = free_port()
    base, statuses = f"http://localhost:{port}", []

    def browse() -> None:
        paths = ("/favicon.ico", "/authorized?code=x&state=guess", "/elsewhere?state=s", "/authorized?code=yes&state=s")
        statuses.extend(visit(base + path) for path in paths)

    browser = threading.Thread(target=browse)
    browser.start()
    found = redirect.answer_of(f"{base}/authorized", "s", 20)
    browser.join()
    assert found == {"code": "yes", "state": "s"}
    assert statuses == [404, 404, 404, 200]


def test_an_answer_that_does_not_come_ends_the_wait() -> None:
    with pytest.raises(Stop, match="nobody has answered in time"):
        redirect.answer_of(f"http://localhost:{free_port()}/authorized", "s", 0.2)


def test_what_cannot_be_caught_here_can_be_pasted() -> None:
    with pytest.raises(Stop) as far:
        redirect.answer_of("https://concord.example/authorized", "s", 1)
    assert far.value.then == ("paste the answer instead: add --paste",)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Stop, match="is not free here") as busy:
        redirect.answer_of(f"http://localhost:{taken.getsockname()[1]}/authorized", "s", 1)
    assert busy.value.then == far.value.then


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("http://localhost:9419/authorized?code=a%2Fb&state=t\n", {"code": "a/b", "state": "t"}),
        ("?code=a&state=t", {"code": "a", "state": "t"}),
        ("code=a&state=t", {"code": "a", "state": "t"}),
        ("  just-the-code \n", {"code": "just-the-code", "state": "ours"}),
        ("1/5:abc==", {"code": "1/5:abc==", "state": "ours"}),
        ("https://x/?error=access_denied", {"error": "access_denied"}),
    ],
    ids=["address", "query", "bare query", "code", "padded code", "a no"],
)
def test_an_answer_is_pasted_in_any_form(line: str, found: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(line))
    assert redirect.pasted("ours") == found


def test_nothing_pasted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    with pytest.raises(Stop, match="found nothing"):
        redirect.pasted("ours")
