"""A real browser, driven by the WebDriver protocol (https://www.w3.org/TR/webdriver2/)."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-dev-shm-usage",
)
# No proxy stands between this process and its driver.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def program(*names: str) -> str:
    """Return the path of the first of these programs."""
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    raise AssertionError(
        f"none of {', '.join(names)} is on the PATH; the report is tested in a real browser, so "
        "install one (Debian: apt install chromium chromium-driver)"
    )


class Browser:
    """One window."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._width_px = 1200

    def send(self, path: str, **body: Any) -> Any:
        """Send a command to the window, with a body if it has one, and return its result."""
        request = urllib.request.Request(
            self._url + path,
            json.dumps(body).encode() if body else None,
            {"Content-Type": "application/json"},
        )
        try:
            with _direct.open(request, timeout=60) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            message = json.load(error)["value"]["message"]
            raise AssertionError(f"{path}: {message}") from error

    def open(self, page: Path | str, width_px: int = 1200, scheme: str = "light") -> None:
        """Open a file or an address in a window of this width, with the scheme light or dark."""
        self._width_px = width_px
        self.complaints()  # those of the page before
        self._resize(900)
        scheme_ = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", features=scheme_)
        self.send("/url", url=page if isinstance(page, str) else page.resolve().as_uri())

    def run(self, script: str) -> Any:
        """Return what a function's body in JavaScript returns."""
        return self.send("/execute/sync", script=script, args=[])

    def complaints(self) -> list[str]:
        """Return the errors, exceptions and warnings in the console since the last call."""
        return [entry["message"] for entry in self.send("/se/log", type="browser")]

    def painted(self) -> None:
        """Wait until the window is painted."""
        script = "const done = arguments[0]; requestAnimationFrame(() => setTimeout(done))"
        self.send("/execute/async", script=script, args=[])

    def screenshot(self, path: Path) -> NDArray[np.uint8]:
        """Save the whole page as a PNG, and return it as (h, w, 3) RGB."""
        self._resize(self.run("return document.documentElement.scrollHeight"))
        self.painted()
        path.write_bytes(base64.b64decode(self.send("/screenshot")))
        picture = cv2.imread(str(path))
        assert picture is not None
        return np.asarray(picture[..., ::-1], np.uint8)

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Send a command of Chromium's DevTools."""
        return self.send("/goog/cdp/execute", cmd=command, params=parameters)

    def _resize(self, height_px: int) -> None:
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=self._width_px,
            height=height_px,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.devtools("Emulation.setScrollbarsHidden", hidden=True)


@contextmanager
def running(folder: Path) -> Iterator[Browser]:
    """Start a browser with its files in ``folder``; stop it afterwards."""
    browser = program("chromium", "chromium-browser", "google-chrome")
    driver = subprocess.Popen(
        [program("chromedriver"), "--port=0"], stdout=subprocess.PIPE, text=True, cwd=folder
    )
    try:
        assert driver.stdout is not None
        started = next(line for line in driver.stdout if "successfully on port" in line)
        server = f"http://127.0.0.1:{started.rstrip().rstrip('.').split()[-1]}/session"
        wanted = {
            "goog:chromeOptions": {
                "binary": browser,
                "args": [*FLAGS, f"--user-data-dir={folder / 'profile'}"],
            },
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        session = Browser(server).send("", capabilities={"alwaysMatch": wanted})
        window = Browser(f"{server}/{session['sessionId']}")
        yield window
        _direct.open(urllib.request.Request(window._url, method="DELETE"), timeout=60).close()
    finally:
        driver.terminate()
        driver.wait(timeout=60)
        driver.stdout.close()
