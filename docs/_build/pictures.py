"""Takes the pictures of docs/pictures/ again: `python docs/_build/pictures.py [NAME …]`.

Needs a demo that is up and served (`concord demo --keep`, then `concord serve`), and on this machine Chromium with its
driver (Debian: packages `chromium` and `chromium-driver`). The driver is spoken to by W3C WebDriver, which is plain
HTTP, so no further package is needed. What is shown is Prefect's V1 UI, which our own server opens first.
"""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

TOP = Path(__file__).resolve().parent.parent.parent
PICTURES = TOP / "docs" / "pictures"
WIDTH, HEIGHT = 1280, 900
LARGEST_BYTES = 200_000
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key of an element's id in WebDriver's answers (W3C WebDriver, section 11)."""
ARROW_DOWN = "\ue015"
"""WebDriver's name of the key (W3C WebDriver, section 17.4.2)."""
QUIET = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars", "--disable-quic",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--force-device-scale-factor=1",
         # a mouse: without one the pages show the fields of a telephone
         "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",
         )  # fmt: skip


class Browser:
    """A window of a headless Chromium."""

    def __init__(self, session: httpx.Client) -> None:
        self._session = session

    def open(self, url: str) -> None:
        self._session.post("url", json={"url": url}).raise_for_status()

    def script(self, code: str, *args: Any) -> Any:
        answer = self._session.post("execute/sync", json={"script": code, "args": list(args)})
        return answer.raise_for_status().json()["value"]

    def wait(self, text: str, seconds: float = 30) -> None:
        """Until the page shows a text."""
        deadline = time.monotonic() + seconds
        while text not in str(self.script("return document.body.innerText")):
            if time.monotonic() > deadline:
                shown = self.script("return document.body.innerText")
                raise SystemExit(f"{text!r} did not come; the page shows:\n{shown}")
            time.sleep(0.3)
        time.sleep(1.0)  # what moves comes to rest

    def find(self, css: str, position: int = 0) -> str:
        found = self._session.post("elements", json={"using": "css selector", "value": css}).raise_for_status()
        return str(found.json()["value"][position][ELEMENT])

    def click(self, text: str, css: str = "button, a, [role=tab], [role=menuitem]") -> None:
        """Clicks the first visible element that shows exactly this text."""
        code = (
            "const [text, css] = arguments; const found = [...document.querySelectorAll(css)]"
            ".filter(e => (e.innerText || '').trim() === text && e.offsetParent).pop();"
            " if (found) found.click(); return !!found"
        )
        if not self.script(code, text, css):
            raise SystemExit(f"there is nothing to click that says {text!r}")
        time.sleep(1.0)

    def type(self, css: str, text: str) -> None:
        self._session.post(f"element/{self.find(css)}/value", json={"text": text}).raise_for_status()

    def size(self, height: int = HEIGHT, width: int = WIDTH) -> None:
        self._session.post("window/rect", json={"width": width, "height": height}).raise_for_status()

    def picture(self, name: str) -> Path:
        taken = base64.b64decode(self._session.get("screenshot").raise_for_status().json()["value"])
        path = PICTURES / f"{name}.png"
        path.write_bytes(taken)
        return path


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser of its own, closed again."""
    driver = shutil.which("chromedriver")
    if driver is None:
        raise SystemExit("there is no chromedriver on this machine (Debian: apt-get install chromium chromium-driver)")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            options = {"goog:chromeOptions": {"args": list(QUIET)}}
            made = _patiently(lambda: client.post("session", json={"capabilities": {"alwaysMatch": options}}))
            session = f"http://127.0.0.1:{port}/session/{made.raise_for_status().json()['value']['sessionId']}/"
            with httpx.Client(base_url=session, timeout=60) as inner:
                try:
                    window = Browser(inner)
                    window.size()
                    yield window
                finally:
                    inner.delete("")  # the driver's end does not end the browser
    finally:
        process.terminate()
        process.wait(20)


def _patiently(ask: Callable[[], httpx.Response]) -> httpx.Response:
    for _ in range(50):
        try:
            return ask()
        except httpx.ConnectError:
            time.sleep(0.2)
    return ask()


# --------------------------------------------------------------------------------------------------- what is shown


class Demo:
    """The demo that is up: its Prefect server as its pages reach it."""

    def __init__(self) -> None:
        from apps import demo as house
        from deployments import prefect_local

        up = house.kept()
        server = prefect_local.running(house.home() / "prefect") if up else None
        if up is None or server is None or server.login is None:
            raise SystemExit("no demo is up: concord demo --keep; and in another terminal: concord serve")
        self.url, self.login, self.landscape = server.ui_url, server.login, Path(up.landscape)
        user, _, password = server.login.partition(":")
        self._api = httpx.Client(base_url=server.api_url, auth=(user, password), timeout=30)
        token = self._api.get("/csrf-token", params={"client": "pictures"}).raise_for_status().json()["token"]
        self._api.headers.update({"Prefect-Csrf-Client": "pictures", "Prefect-Csrf-Token": token})

    def deployment(self, name: str) -> str:
        answer = self._api.get(f"/deployments/name/{name}")
        if answer.status_code == 404:
            raise SystemExit(f"{name} is not there: is the demo served? concord serve")
        return str(answer.raise_for_status().json()["id"])

    def run(self, name: str, **parameters: Any) -> str:
        """Starts a run, waits for its end, gives its id."""
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        made = self._api.post(f"/deployments/{self.deployment(name)}/create_flow_run", json=body)
        run_id = str(made.raise_for_status().json()["id"])
        for _ in range(600):
            state = self._api.get(f"/flow_runs/{run_id}").raise_for_status().json()["state_type"]
            if state in ("COMPLETED", "FAILED", "CRASHED"):
                time.sleep(3)  # its artifacts and logs arrive
                return run_id
            time.sleep(0.5)
        raise SystemExit(f"the run of {name} does not end")

    def artifact(self, run_id: str, key: str) -> str:
        body = {"artifacts": {"flow_run_id": {"any_": [run_id]}}}
        found = self._api.post("/artifacts/filter", json=body).raise_for_status().json()
        return str(next(each["id"] for each in found if (each["key"] or "").startswith(key)))

    def crm(self) -> str:
        """Where the demo's CRM is, to be told what to refuse."""
        import yaml

        declared = yaml.safe_load((self.landscape / "landscape.yaml").read_text(encoding="utf-8"))
        return str(declared["systems"]["crm"]["url"])


def login(page: Browser, demo: Demo) -> None:
    """The door."""
    page.size(560, 900)
    page.script("localStorage.clear()")
    page.open(demo.url)
    page.wait("Login")
    page.script("document.querySelectorAll('.p-toast__close-btn').forEach(button => button.click())")
    time.sleep(1)
    page.picture("login")


def deployments(page: Browser, demo: Demo) -> None:
    """The list of what can be started."""
    page.size(1020)
    page.open(f"{demo.url}/deployments")
    page.wait("customer-details")
    page.picture("deployments")


def description(page: Browser, demo: Demo) -> None:
    """What one of them is for, and its schedule's switch."""
    page.size(700)
    page.open(f"{demo.url}/deployments/deployment/{demo.deployment('sync/customer-details')}")
    page.wait("Description")
    page.click("Description", "*")
    page.wait("Owner")
    page.picture("description")


def form(page: Browser, demo: Demo) -> None:
    """The form of a run, and its integrations by name."""
    page.size(1150)
    page.open(f"{demo.url}/deployments/deployment/{demo.deployment('sync/all')}/run")
    page.wait("Validate parameters")
    page.picture("form")
    page.type(".p-select-button__control", ARROW_DOWN)
    page.wait("customer-details")
    page.picture("choices")


def decide(page: Browser, demo: Demo) -> None:
    """The form of a yes or no."""
    page.size(1250)
    page.open(f"{demo.url}/deployments/deployment/{demo.deployment('decide/decide')}/run")
    page.wait("Validate parameters")
    page.picture("decide")


def result(page: Browser, demo: Demo) -> None:
    """A run that went well: its page, what it shows of itself, and its story."""
    run_id = demo.run("sync/all", integration="all", mode="full")
    page.size(1150)
    page.open(f"{demo.url}/runs/flow-run/{run_id}")
    page.wait("Artifacts")
    time.sleep(2)  # the drawing comes to rest
    page.click("Artifacts", "*")
    page.wait("Every count of this sync")
    page.picture("run")
    page.size(1300)
    page.open(f"{demo.url}/artifacts/artifact/{demo.artifact(run_id, 'sync-')}")
    page.wait("What waits for whom")
    page.picture("result")


def failed(page: Browser, demo: Demo) -> None:
    """A run that failed, because a system refuses our credentials."""
    fault = {"kind": "status", "status": 401, "count": -1, "match": {"path": "/crm/"}}
    httpx.post(f"{demo.crm()}/_sandbox/fault", json=fault).raise_for_status()
    try:
        run_id = demo.run("sync/customer-details")
    finally:
        httpx.delete(f"{demo.crm()}/_sandbox/faults").raise_for_status()
    page.size(1000)
    page.open(f"{demo.url}/artifacts/artifact/{demo.artifact(run_id, 'sync-')}")
    page.wait("Trouble")
    page.picture("failed")
    demo.run("sync/customer-details")


SHOWN: tuple[Callable[[Browser, Demo], None], ...] = (login, deployments, description, form, decide, result, failed)


def main(names: list[str]) -> int:
    sys.path.insert(0, str(TOP))
    demo = Demo()
    PICTURES.mkdir(exist_ok=True)
    with browser() as page:
        page.open(demo.url)
        page.wait("Login")
        page.type("input[type=password]", demo.login)
        page.click("Login")
        page.wait("Dashboard")
        signed_in = page.script("return JSON.stringify(localStorage)")
        for show in SHOWN:
            if not names or show.__name__ in names:
                page.script(
                    "for (const [k, v] of Object.entries(JSON.parse(arguments[0]))) localStorage[k] = v", signed_in
                )
                show(page, demo)
    for path in sorted(PICTURES.glob("*.png")):
        size = path.stat().st_size
        print(f"{path.relative_to(TOP)}  {size / 1000:.0f} kB")
        if size > LARGEST_BYTES:
            raise SystemExit(f"{path.name} is larger than {LARGEST_BYTES / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
