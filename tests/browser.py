"""A headless browser that tests look at pages with, over the DevTools protocol.

It needs Chromium (Debian: apt-get install chromium) and no Python package: the protocol
goes through two pipes, one message of JSON at a time, each ended by a zero byte.
"""

import base64
import contextlib
import fcntl
import json
import os
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome")

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-extensions",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-pipe",
    "--hide-scrollbars",
)


def find():
    """Returns the path of the browser, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def opened(path, profile, size=(1280, 900)):
    """Yields the `Page` of a file in a new browser, which ends with the context.

    Args:
        path: HTML file.
        profile: Empty folder for what the browser keeps.
        size: Of the window, in pixels.
    """
    to_browser, from_us = os.pipe()
    to_us, from_browser = os.pipe()

    def give_pipes():
        # The browser reads from 3 and writes to 4, which either end may be by now.
        ends = [fcntl.fcntl(e, fcntl.F_DUPFD, 5) for e in (to_browser, from_browser)]
        for end, place in zip(ends, (3, 4), strict=True):
            os.dup2(end, place)

    process = subprocess.Popen(
        [
            find(),
            *_OPTIONS,
            f"--user-data-dir={profile}",
            f"--window-size={size[0]},{size[1]}",
        ],
        preexec_fn=give_pipes,
        close_fds=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser)
    os.close(from_browser)
    try:
        with open(from_us, "wb") as out, open(to_us, "rb") as into:
            yield Page(out, into, path)
    finally:
        process.kill()
        process.wait()


class Page:
    """A page that is shown."""

    def __init__(self, out, into, path):
        self._out, self._into, self._number = out, into, 0
        self._session = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self._call("Page.enable")
        self._call("Runtime.enable")
        self.errors = []
        self._call("Page.navigate", url=path.resolve().as_uri())
        self._wait_for("Page.loadEventFired")

    def evaluate(self, expression):
        """Returns the value of a JavaScript expression."""
        found = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def move_to(self, selector, press=False):
        """Moves the pointer to the middle of the first element; clicks on request."""
        x, y = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'});"
            "const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        kinds = ["mouseMoved", *(["mousePressed", "mouseReleased"] if press else [])]
        for kind in kinds:
            options = {} if kind == "mouseMoved" else {"button": "left"}
            self._call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                clickCount=int(press),
                **options,
            )

    def screenshot(self, path, clip=None):
        """Writes a PNG of the window, or of (x, y, width, height) of the page."""
        options = {}
        if clip is not None:
            names = ("x", "y", "width", "height")
            box = dict(zip(names, clip, strict=True)) | {"scale": 1}
            options = {"clip": box, "captureBeyondViewport": True}
        found = self._call("Page.captureScreenshot", format="png", **options)
        path.write_bytes(base64.b64decode(found["data"]))

    def _call(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            found = self._read()
            if found.get("id") == self._number:
                assert "error" not in found, found
                return found["result"]

    def _wait_for(self, event):
        while self._read().get("method") != event:
            pass

    def _read(self):
        text = bytearray()
        while (byte := self._into.read(1)) != b"\0":
            if not byte:
                raise EOFError("The browser has ended.")
            text += byte
        found = json.loads(text)
        if found.get("method") == "Runtime.exceptionThrown":
            self.errors.append(found["params"]["exceptionDetails"]["text"])
        return found
