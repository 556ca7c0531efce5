"""Programs, viewers and waits of the tests of the live page."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

import aiohttp
from browser import Browser

DEADLINE_S = 30.0


def until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE_S) -> Any:
    deadline_s = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline_s, f"not in time: {what}"
        time.sleep(0.05)
    return result


class Program:
    """A program of the package in a process of its own."""

    def __init__(self, log: Path, name: str, *parameters: str, **environment: str) -> None:
        self.log = log
        arguments = [word for each in parameters for word in ("-p", each)]
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                [name, "--ros-args", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: Any) -> None:
        self.kill()

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def url(self) -> str:
        """The address in the log."""
        until(lambda: "serving http" in self.said or self.process.poll(), "the page is served")
        return re.findall(r"serving (http\S+)", self.said)[-1]

    def stop(self, stop: signal.Signals = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(stop)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)


class Rig:
    """Camera, node and dashboard, an observer of the graph, and a browser."""

    def __init__(self, folder: Path, url: str, observer: Any, browser: Browser) -> None:
        self.folder, self.url, self.observer, self.browser = folder, url, observer, browser
        self.port = port_of(url)
        self.camera = Program(folder / "camera", "photo_camera")
        self.start_node()

    def start_node(self) -> None:
        self.node = Program(self.folder / "node", "emotion_node")

    def watched(self) -> int:
        """Number of subscriptions of what the node draws for viewers only."""
        return int(self.observer.count_subscribers("/emotion/image"))

    def text(self) -> str:
        return str(self.browser.run("return document.body.innerText"))

    def shows(self, text: str, seconds: float = DEADLINE_S) -> None:
        until(lambda: text in self.text(), f"the page shows {text!r}", seconds)

    def picture(self) -> str:
        script = "return document.querySelector('canvas')?.toDataURL('image/jpeg', 0.3) || ''"
        return str(self.browser.run(script))


async def receive(
    url: str,
    enough: Callable[[list[Any], list[bytes]], bool],
    topic: bytes = b"/emotion",
    busy_s: float = 0.0,
) -> tuple[list[Any], list[bytes]]:
    """Be a viewer until enough states and pictures have come."""
    texts: list[Any] = []
    pictures: list[bytes] = []
    async with aiohttp.ClientSession() as session, session.ws_connect(socket_url(url)) as link:
        async for message in link:
            if message.type == aiohttp.WSMsgType.TEXT:
                texts.append(json.loads(message.data))
            else:
                (length,) = struct.unpack(">H", message.data[:2])
                assert message.data[2 : 2 + length] == topic
                pictures.append(message.data[2 + length :])
            await asyncio.sleep(busy_s)
            try:
                await link.send_str("")  # ready for the next ones
            except ConnectionError:  # it ends meanwhile
                break
            if enough(texts, pictures):
                return texts, pictures
    raise AssertionError("the connection has ended")


def socket_url(url: str) -> str:
    base, _, query = url.partition("?")
    return base + "ws" + ("?" + query if query else "")


def port_of(url: str) -> int:
    return int(re.findall(r":(\d+)/", url)[0])


def get(port: int, path: str = "/", **headers: str) -> tuple[int, Any, str]:
    """Return status, headers and text of a request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
    finally:
        connection.close()
