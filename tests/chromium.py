"""Drives a real, headless Chromium by the DevTools protocol over a pipe: no port, no driver.

`until` and `evaluate` run in the page; whatever a visitor's console would show in red is gathered
in `problems`.
"""

import base64
import fcntl
import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any, Self

ANSWER_S = 30.0
_FIRST_FREE_FD = 10
_KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowDown": 40, "ArrowRight": 39}


class PageError(AssertionError):
    """The page, or the browser, did not do what was asked."""


class Chromium:
    """One browser with one page."""

    def __init__(self, program: str, profile: Path) -> None:
        self.problems: list[str] = []
        self.requested: list[str] = []
        self._id = 0
        self._buffer = b""
        self._session: str | None = None
        command_read, self._write = os.pipe()
        self._read, answer_write = os.pipe()
        ours = [
            fcntl.fcntl(fd, fcntl.F_DUPFD, _FIRST_FREE_FD) for fd in (command_read, answer_write)
        ]

        def wire() -> None:  # Chromium reads commands at 3 and answers at 4
            os.dup2(ours[0], 3)
            os.dup2(ours[1], 4)

        self._process = subprocess.Popen(
            [
                program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
                "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            close_fds=False, preexec_fn=wire,  # noqa: PLW1509 # nothing but dup2 runs there
        )  # fmt: skip
        for fd in (*ours, command_read, answer_write):
            os.close(fd)
        (page,) = [one for one in self._call("Target.getTargets")["targetInfos"]
                   if one["type"] == "page"]  # fmt: skip
        attached = self._call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def go(self, url: str) -> None:
        """Load a page from scratch."""
        self._call("Page.navigate", url="about:blank")
        self._call("Page.navigate", url=url)

    def size(self, width: int, height: int) -> None:
        """Set what the page takes for the screen."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; a promise is awaited."""
        answer = self._call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise PageError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until a JavaScript condition holds in the page; PageError when it never does."""
        deadline_s = time.monotonic() + ANSWER_S
        watch = (
            "new Promise(done => { let left = 60; const look = () => { let is = false;"
            f"try {{ is = Boolean({condition}); }} catch {{ /* not there yet */ }}"
            "if (is || --left < 0) done(is); else setTimeout(look, 16); }; look(); })"
        )
        while True:
            try:
                if self.evaluate(watch):
                    return
            except PageError:  # a page that is left takes its promises with it
                pass
            if time.monotonic() > deadline_s:
                text = self.evaluate("document.body.innerText")[:2000]
                raise PageError(f"never true: {condition}\n{self.problems}\n{text}")

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press and release a key."""
        code = _KEYS[key]
        text = {"Enter": "\r", " ": " "}.get(key)
        common = {"key": key, "code": {" ": "Space"}.get(key, key), "modifiers": 8 if shift else 0,
                  "windowsVirtualKeyCode": code, "nativeVirtualKeyCode": code}  # fmt: skip
        down = common | ({"text": text} if text else {})
        self._call("Input.dispatchKeyEvent", type="keyDown", **down)
        self._call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Type a text where the keyboard is."""
        self._call("Input.insertText", text=text)

    def focused(self) -> str:
        """Return the id of what has the keyboard."""
        return str(self.evaluate("document.activeElement.id"))

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Save what is seen, or the whole page, as PNG."""
        more: dict[str, Any] = {"captureBeyondViewport": whole}
        if whole:
            size = self._call("Page.getLayoutMetrics")["cssContentSize"]
            more["clip"] = {
                "x": 0,
                "y": 0,
                "width": size["width"],
                "height": size["height"],
                "scale": 1,
            }
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", **more)["data"]))

    def allow_downloads(self, folder: Path) -> None:
        """Let files be saved to a folder."""
        session, self._session = self._session, None
        self._call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self._session = session

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._id += 1
        request: dict[str, Any] = {"id": self._id, "method": method, "params": parameters}
        if self._session is not None:
            request["sessionId"] = self._session
        os.write(self._write, json.dumps(request).encode() + b"\0")
        deadline_s = time.monotonic() + ANSWER_S
        while True:
            message = self._next(deadline_s, method)
            if message.get("id") != self._id:
                self._note(message)
            elif "error" in message:
                raise PageError(f"{method}: {message['error']}")
            else:
                return dict(message["result"])

    def _next(self, deadline_s: float, method: str) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, deadline_s - time.monotonic()))
            more = os.read(self._read, 1 << 16) if ready else b""
            if not more:
                raise PageError(f"{method}: no answer from the browser")
            self._buffer += more
        text, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(text))

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requested.append(parameters["request"]["url"])
            case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                entry = parameters["entry"]
                self.problems.append(f"{entry['text']} {entry.get('url', '')}")
            case "Runtime.exceptionThrown":
                details = parameters["exceptionDetails"]
                shown = details.get("exception", {}).get("description", details["text"])
                self.problems.append(shown)
            case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning", "assert"):
                self.problems.append(str(parameters["args"]))
            case _:
                pass
