"""The web server of the live page: a page, and a WebSocket for each viewer.

It runs in a thread of its own. Each viewer has one place for the newest state and one for the
newest picture of each camera, and answers each message that it has processed before it is sent the
next ones. So a slow viewer misses some, gets no old ones, and delays no other.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import hmac
import json
import os
import socket
import struct
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Deque, Dict, Sequence, Set, Tuple, Union
from urllib.parse import quote, urlsplit

from aiohttp import WSCloseCode, web

from esr_core.report.html import asset, emotion_constants
from esr_ros.dashboard.options import HISTORY_S, DashboardError, DashboardOptions, is_local_name

#: Time after which a viewer that stops reading is disconnected.
STALL_S = 5.0
MAX_VIEWERS = 50
_ASSETS = Path(__file__).parent / "assets"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # the token is in the address
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def page_files() -> Dict[str, Tuple[str, str]]:
    """Return text and media type of each file by its path; charts and styles are the report's."""
    data = json.dumps({**emotion_constants(), "duration_s": HISTORY_S, "live": True})
    script = f'"use strict";\nconst DATA = {data};\n'
    script += asset("charts.js") + asset("dashboard.js", _ASSETS)
    style = asset("page.css") + asset("dashboard.css", _ASSETS)
    return {
        "/": (asset("dashboard.html", _ASSETS), "text/html"),
        "/dashboard.js": (script, "text/javascript"),
        "/dashboard.css": (style, "text/css"),
    }


class Viewer:
    """One browser, and the newest messages that it has not been sent yet."""

    def __init__(self, peer: web.WebSocketResponse) -> None:
        self.peer = peer
        self._pending: Dict[str, Union[str, bytes]] = {}  # the picture of each topic; "": the state
        self._ready, self._has_read = asyncio.Event(), asyncio.Event()
        self._unread = 0

    def put(self, topic: str, message: Union[str, bytes]) -> None:
        """Replace the picture of a camera or, with an empty topic, the state."""
        self._pending[topic] = message
        self._ready.set()

    def on_answer(self) -> None:
        """Note that the viewer has processed a message."""
        self._unread -= 1
        if self._unread <= 0:
            self._has_read.set()

    async def send(self, history: str, transport: Any) -> None:
        """Send all until the connection ends; end it if the viewer stops reading."""
        messages: Sequence[Union[str, bytes]] = [history]
        with suppress(ConnectionError, asyncio.TimeoutError):
            while True:
                await asyncio.wait_for(self._send(messages), STALL_S)
                await self._ready.wait()
                self._ready.clear()
                messages = [message for _, message in sorted(self._pending.items())]
                self._pending.clear()
        # Not close(), which would wait for a viewer that does not read.
        if transport is not None:
            transport.abort()

    async def _send(self, messages: Sequence[Union[str, bytes]]) -> None:
        """Send messages, and wait until they are processed: the network's buffers are large."""
        self._unread = len(messages)
        self._has_read.clear()
        for message in messages:
            if isinstance(message, str):
                await self.peer.send_str(message)
            else:
                await self.peer.send_bytes(message)
        await self._has_read.wait()


class DashboardServer:
    """Serves the page until it is stopped; ``put_state`` and ``put_picture`` are thread-safe."""

    def __init__(self, options: DashboardOptions) -> None:
        self._options = options
        self._viewers: Set[Viewer] = set()
        self._samples: Deque[Dict[str, Any]] = deque()
        self._files = page_files()
        self._loop = asyncio.new_event_loop()
        self.url = ""

    @property
    def viewers(self) -> int:
        """Return the number of open pages."""
        return len(self._viewers)

    def start(self) -> None:
        """Open the port; DashboardError if that fails."""
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        host, port = self._options.host, self._options.port
        try:
            own_port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        except (OSError, UnicodeError) as error:
            why = str(error)
            if isinstance(error, socket.gaierror):  # its numbers are not those of errno
                why = str(error.strerror)
            elif isinstance(error, OSError):
                why = os.strerror(error.errno or 0)  # asyncio's own texts repeat the address
            raise DashboardError(
                f"cannot serve on port {port} of {host}: {why}; choose others by -p port:=8081 "
                "(0: any free one) or -p host:=127.0.0.1"
            ) from error
        shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
        shown = f"[{shown}]" if ":" in shown else shown
        token = f"?token={quote(self._options.token, safe='')}" if self._options.token else ""
        self.url = f"http://{shown}:{own_port}/{token}"

    def stop(self) -> None:
        """Close the port, and the connections with a reason that lets pages reconnect."""
        closing = asyncio.run_coroutine_threadsafe(self._close(), self._loop)
        with suppress(TimeoutError, concurrent.futures.TimeoutError, asyncio.TimeoutError, OSError):
            closing.result(timeout=1.0)

    def put_state(self, state: Dict[str, Any]) -> None:
        """Send a state to all viewers; its samples are kept for later ones."""
        text = json.dumps(state, separators=(",", ":"), allow_nan=False)
        begin_ms = state["now"] - HISTORY_S * 1000
        self._loop.call_soon_threadsafe(self._keep, state["samples"], begin_ms)
        self._loop.call_soon_threadsafe(self._spread, "", text)

    def put_picture(self, topic: str, jpeg: bytes) -> None:
        """Send a picture of a camera to all viewers."""
        name = topic.encode()
        data = struct.pack(">H", len(name)) + name + jpeg
        self._loop.call_soon_threadsafe(self._spread, topic, data)

    # What follows runs in the server's thread.

    def _keep(self, samples: Sequence[Dict[str, Any]], begin_ms: float) -> None:
        self._samples.extend(samples)
        while self._samples and self._samples[0]["t"] < begin_ms:
            self._samples.popleft()

    def _spread(self, topic: str, message: Union[str, bytes]) -> None:
        for viewer in self._viewers:
            viewer.put(topic, message)

    async def _listen(self) -> int:
        application = web.Application(middlewares=[self._guard])
        for path in self._files:
            application.router.add_get(path, self._on_file)
        application.router.add_get("/ws", self._on_viewer)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._options.host, self._options.port).start()
        return int(self._runner.addresses[0][1])

    async def _close(self) -> None:
        for site in [*self._runner.sites]:
            await site.stop()
        closing = [each.peer.close(code=WSCloseCode.GOING_AWAY) for each in self._viewers]
        await asyncio.wait_for(asyncio.gather(*closing, return_exceptions=True), 0.5)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Refuse requests of other sites, and those for the page without the token.

        A site that resolves its own name to 127.0.0.1 is refused by the name (DNS rebinding).
        """
        host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
        if self._options.is_local and not is_local_name(_hostname(host)):
            raise web.HTTPForbidden(text="This page is for 127.0.0.1 and localhost only.\n")
        if origin is not None and origin.partition("://")[2] != host:
            raise web.HTTPForbidden(text="This page is not for other sites.\n")
        token, given = self._options.token.encode(), request.query.get("token", "").encode()
        if token and request.path in ("/", "/ws") and not hmac.compare_digest(given, token):
            raise web.HTTPForbidden(text="The token is missing or wrong; the log has it.\n")
        response: web.StreamResponse = await handler(request)
        return response

    async def _on_file(self, request: web.Request) -> web.StreamResponse:
        text, kind = self._files[request.path]
        return web.Response(text=text, content_type=kind, charset="utf-8", headers=_HEADERS)

    async def _on_viewer(self, request: web.Request) -> web.StreamResponse:
        if len(self._viewers) >= MAX_VIEWERS:
            raise web.HTTPServiceUnavailable(text=f"{MAX_VIEWERS} pages are open already.\n")
        peer = web.WebSocketResponse(heartbeat=3 * STALL_S, max_msg_size=1024, compress=False)
        await peer.prepare(request)
        viewer = Viewer(peer)
        self._viewers.add(viewer)
        history = json.dumps({"history": [*self._samples]}, separators=(",", ":"))
        sending = asyncio.ensure_future(viewer.send(history, request.transport))
        try:
            async for _ in peer:
                viewer.on_answer()
        finally:
            self._viewers.discard(viewer)
            sending.cancel()
            await asyncio.wait([sending])
        return peer


def _hostname(host: str) -> str:
    with suppress(ValueError):
        return urlsplit(f"//{host}").hostname or ""
    return ""
