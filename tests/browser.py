"""A headless Chromium, driven over its debugging pipe: pages are looked at as a reader would see them."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

CHROMIUM = next((c for c in map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome")) if c), None)

# Everything a reader would trip over, read from the page itself.
LOOK = """(() => {
  const wide = [...document.querySelectorAll('body *')].filter(e => {
    if (e.closest('.math, .box, pre, .scroll, [hidden]') || e.closest('svg')) return false;
    const r = e.getBoundingClientRect();
    return r.width > 0 && r.right > document.documentElement.clientWidth + 1;
  });
  const maths = [...document.querySelectorAll('math')];
  const seen = m => {
    const r = m.getBoundingClientRect();
    return m.closest('[hidden]') || (r.width > 0 && r.height > 0);
  };
  const style = getComputedStyle(document.body);
  return {
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    wide: wide.slice(0, 5).map(e => e.outerHTML.slice(0, 160)),
    formulas: maths.length,
    unseen: maths.filter(m => !seen(m)).map(m => m.outerHTML.slice(0, 160)),
    unread: [...document.querySelectorAll('math')].filter(m => /\\\\[a-zA-Z]/.test(m.textContent))
      .map(m => m.textContent.slice(0, 80)),
    ink: style.color, paper: style.backgroundColor,
  };
})()"""


class Browser:
    """One Chromium with one page.

        with Browser() as browser:
            browser.open(path, width=380, dark=True)
            browser.evaluate("document.title")
    """

    def __init__(self, timeout: float = 60) -> None:
        self.home = tempfile.mkdtemp(prefix="browser-")
        ours, theirs = os.pipe(), os.pipe()  # to the browser, from the browser
        self.out, self.back = ours[1], theirs[0]

        def pipes() -> None:
            first, second = os.dup(ours[0]), os.dup(theirs[1])  # copies, lest 3 and 4 are taken by one another
            os.dup2(first, 3)
            os.dup2(second, 4)

        self.process = subprocess.Popen(
            [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--hide-scrollbars", "--no-first-run", "--disable-background-networking", "--remote-debugging-pipe",
             f"--user-data-dir={self.home}", "about:blank"],
            preexec_fn=pipes, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(ours[0])
        os.close(theirs[1])
        self.reader = os.fdopen(self.back, "rb", 0)
        self.buffer, self.count, self.session = b"", 0, ""
        self.timeout = timeout
        self.said: list[str] = []
        self.loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.session = ""
            self.call("Browser.close")
        finally:
            os.close(self.out)
            self.reader.close()
            self.process.kill()
            self.process.wait()
            shutil.rmtree(self.home, ignore_errors=True)

    # -------------------------------------------------------------------------------------------- the protocol

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self.count += 1
        sent: dict[str, Any] = {"id": self.count, "method": method, "params": params}
        if self.session:
            sent["sessionId"] = self.session
        os.write(self.out, json.dumps(sent).encode() + b"\0")
        while True:
            got = self._message()
            if got.get("id") == self.count:
                if "error" in got:
                    raise RuntimeError(f"{method}: {got['error']}")
                return got.get("result", {})

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            piece = self.reader.read(1 << 16)
            if not piece:
                raise RuntimeError("the browser has gone")
            self.buffer += piece
        text, _, self.buffer = self.buffer.partition(b"\0")
        got: dict[str, Any] = json.loads(text)
        self._note(got)
        return got

    def _note(self, got: dict[str, Any]) -> None:
        method, p = got.get("method", ""), got.get("params", {})
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Runtime.consoleAPICalled" and p["type"] in ("error", "warning", "assert"):
            self.said.append(" ".join(str(a.get("value", a.get("description"))) for a in p["args"]))
        elif method == "Runtime.exceptionThrown":
            self.said.append(str(p["exceptionDetails"].get("exception", {}).get("description", p)))
        elif method == "Log.entryAdded" and p["entry"]["level"] in ("error", "warning"):
            self.said.append(p["entry"]["text"] + " " + p["entry"].get("url", ""))
        elif method == "Network.requestWillBeSent" and p["request"]["url"].startswith(("http", "ws")):
            self.said.append("asks the network for " + p["request"]["url"])

    # ------------------------------------------------------------------------------------------------ the page

    def open(self, path: Path, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Show a file; what it says on its console since then stands in `said`."""
        self.said.clear()
        self.loaded = False
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not self.loaded:
            self._message()
        self.evaluate("new Promise(f => requestAnimationFrame(() => requestAnimationFrame(() => f(1))))")

    def evaluate(self, code: str) -> Any:
        got = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in got:
            raise RuntimeError(str(got["exceptionDetails"]))
        return got["result"].get("value")

    def look(self) -> dict[str, Any]:
        """Overflow, formulas, colours of the page that is open."""
        found: dict[str, Any] = self.evaluate(LOOK)
        return found

    def follow(self, selector: str) -> None:
        """Click a link and wait for its page."""
        self.loaded = False
        self.evaluate(f"document.querySelector({selector!r}).click()")
        while not self.loaded:
            self._message()

    def press(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def picture(self, path: Path, whole: bool = True) -> None:
        """A screenshot."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf(self, path: Path) -> None:
        """The page as its print style sheet sets it."""
        data = self.call("Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69)["data"]
        path.write_bytes(base64.b64decode(data))
