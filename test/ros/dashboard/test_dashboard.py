"""The live page: real nodes, a real browser, and viewers that speak WebSocket themselves."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browser import Browser
from builtin_interfaces.msg import Time
from live_page import DEADLINE_S, Program, Rig, get, port_of, receive, until
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

from esr_core.emotions import LABELS
from esr_ros.conversions.messages import image, jpeg
from esr_ros.msg import Emotion, EmotionArray, EmotionNotice
from esr_ros.parameters import NodeOptions

SUPPORT = Path(__file__).parents[2] / "support"

# What the page shows.


def test_page_follows_a_real_node(page: Rig) -> None:
    pictures, latencies = set(), set()

    def has_moved() -> bool:
        pictures.add(page.picture())
        latencies.add(
            page.browser.run("return document.querySelectorAll('.tiles dd')[2].innerText")
        )
        return len(pictures) > 4 and len(latencies) > 2

    until(has_moved, "pictures and values change")
    until(lambda: "emotion_node: emotions, processing images" in page.text(), "diagnostics")
    text = page.text()
    assert "/emotion" in text
    assert re.search(r"Face \d+\s+happy \d+", text)
    assert re.search(r"valence \+\d\.\d\d, arousal [+−]\d\.\d\d", text)
    assert re.search(r"Results\s+[1-9]\d?\.\d\sHz", text)
    assert re.search(r"State\s+OK\s+processing images", text)
    page.browser.run("document.querySelector('summary').click()")
    until(lambda: re.search(r"provider\s+\w+ExecutionProvider", page.text()), "all diagnostics")
    areas = page.browser.run("return document.querySelector('path[data-label=happy]').outerHTML")
    until(lambda: page.browser.run("return document.querySelector('.trail') !== null"), "a path")
    assert len(areas) > 60
    assert page.browser.complaints() == []


def test_notices_of_all_nodes_are_shown(page: Rig) -> None:
    """That of the node, and those of a second one, whose text is no markup."""
    own = NodeOptions().notice_text
    line = rf"\n{re.escape(own)} Active since \d+ \w+ 20\d\d, \d\d:\d\d, network ESR-\d"
    until(lambda: re.search(line, page.text()), "the notice of the node, without its topic")
    nodes = page.browser.devtools("Accessibility.getFullAXTree")["nodes"]
    read = [(each["role"]["value"], each["name"]["value"]) for each in nodes if "name" in each]
    assert ("list", "Notices for the people in view") in read
    assert ("StaticText", own) in read

    emotions = page.observer.create_publisher(EmotionArray, "/left/emotion", 10)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    notices = page.observer.create_publisher(EmotionNotice, "/left/emotion/notice", latched)
    notice = EmotionNotice(active=True, since=Time(sec=86400 * 365), text="<b>Zwölf</b>")
    notices.publish(notice)
    page.shows("/left/emotion/notice: <b>Zwölf</b> Active since 1 Jan 1971")
    page.shows(f"/emotion/notice: {own}")
    notice.active = False
    notices.publish(notice)
    page.shows("/left/emotion/notice: Images are not analyzed. Inactive since 1 Jan 1971")
    page.observer.destroy_publisher(notices)
    page.observer.destroy_publisher(emotions)
    until(lambda: re.search(line, page.text()), "the notice of the node alone")
    assert page.browser.complaints() == []


def test_nothing_is_loaded_from_elsewhere(page: Rig) -> None:
    script = "return performance.getEntriesByType('resource').map((each) => each.name)"
    loaded = page.browser.run(script)
    assert {each.rsplit("/", 1)[1] for each in loaded} >= {"dashboard.css", "dashboard.js"}
    assert all(each.startswith((page.url, "data:")) for each in loaded)
    status, headers, text = get(page.port)
    assert status == 200
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == [
        "data:,",
        "dashboard.css",
        "dashboard.js",
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_in_both_schemes(rig: Rig, scheme: str) -> None:
    rig.browser.open(rig.url, 400, scheme)
    until(lambda: "happy" in rig.text() and "Active since" in rig.text(), "a face, a notice")
    assert rig.browser.run("return document.documentElement.scrollWidth") <= 400
    ground = rig.browser.run("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(246, 246, 244)", "dark": "rgb(17, 18, 21)"}[scheme]
    assert rig.browser.complaints() == []


def test_reduced_motion_shows_a_picture_a_second(page: Rig) -> None:
    reduced = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    page.browser.devtools("Emulation.setEmulatedMedia", features=reduced)
    times_s: list[float] = []
    last = page.picture()

    def has_moved() -> bool:
        nonlocal last
        before, last = last, page.picture()
        if last != before:
            times_s.append(time.monotonic())
        return len(times_s) == 4

    until(has_moved, "pictures change")
    # The first two may be from before, and the time of a look is not that of the change.
    assert times_s[3] - times_s[1] > 1.7


def test_new_viewer_has_the_last_minute(page: Rig) -> None:
    times: list[int] = []

    def has_many() -> bool:
        first = asyncio.run(receive(page.url, lambda texts, pictures: bool(texts)))[0][0]
        times[:] = [sample["t"] for sample in first["history"]]
        return len(times) > 20

    until(has_many, "samples")
    assert times == sorted(times)
    assert 1000 < times[-1] - times[0] <= 60_000


def test_keyboard_pauses_and_a_paused_page_costs_nothing(page: Rig) -> None:
    """Subscriptions exist while there are viewers only, so the node draws for them only."""
    until(lambda: page.watched() == 1, "a subscription")
    press(page.browser, "\ue004")  # Tab
    assert page.browser.run("return document.activeElement.id") == "pause"
    press(page.browser, "\ue007")  # Enter
    page.shows("Paused")
    until(lambda: page.watched() == 0, "no subscription")
    for topic in ("/emotion", "/diagnostics", "/emotion/image/compressed"):
        until(lambda topic=topic: page.observer.count_subscribers(topic) == 0, topic)
    press(page.browser, "\ue007")
    page.shows("Live, 1 camera")
    until(lambda: page.watched() == 1, "a subscription again")


def press(browser: Browser, key: str) -> None:
    keys = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
    browser.send("/actions", actions=[{"type": "key", "id": "keyboard", "actions": keys}])


def test_hidden_page_disconnects(page: Rig) -> None:
    """Headless pages are never hidden, so the event and its state are made."""
    script = (
        "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.browser.run(script % "true")
    until(lambda: page.watched() == 0, "no subscription")
    page.browser.run(script % "false")
    until(lambda: page.watched() == 1, "a subscription again")


def test_label_changes_are_announced_and_names_are_text(page: Rig) -> None:
    """A second camera appears by itself, changes its label, and falls silent."""
    publisher = page.observer.create_publisher(EmotionArray, "/left/emotion", 10)
    announced = "return document.querySelector('#announcer').textContent"

    def show(label: str) -> str:
        probabilities = [0.65 if each == label else 0.05 for each in LABELS]
        face = {"face_id": 77, "emotion": LABELS.index(label), "label": label}
        nan = float("nan")  # which JSON does not have
        face = Emotion(probabilities=probabilities, valence=nan, arousal=0.5, **face)
        publisher.publish(EmotionArray(emotions=[face]))
        return str(page.browser.run(announced))

    until(lambda: "Face 77: sad" in show("sad"), "an announcement")
    assert "/left/emotion" in page.text()
    until(lambda: "Face 77: anger" in show("anger"), "an announcement of the change")
    page.shows("anger 65.0")
    page.shows("No messages since")
    page.observer.destroy_publisher(publisher)
    names = "return [...document.querySelectorAll('canvas, svg[role], [role=img], section')]"
    labels = page.browser.run(
        f"{names}.map((each) => each.ariaLabel || each.getAttribute('aria-labelledby'))"
    )
    assert all(labels)
    assert page.browser.complaints() == []


# Other viewers.


def stalled(port: int) -> socket.socket:
    """A viewer that reads nothing after its request."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        *("GET /ws HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket"),
        *("Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"),
    ]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    return connection


def established(port: int, peer: socket.socket) -> bool:
    """Whether the server still has the connection of a viewer."""
    ends = {f":{port:04X}", f":{peer.getsockname()[1]:04X}"}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    mine = [row for row in rows if row[1][-5:] == f":{port:04X}" and row[2][-5:] in ends]
    return any(row[3] == "01" for row in mine)


def test_ten_viewers_share_the_pictures_and_a_stalled_one_delays_nobody(rig: Rig) -> None:
    with stalled(rig.port) as asleep:
        until(lambda: established(rig.port, asleep), "the viewer that does not read")

        subscriptions = set()

        def enough(texts: list[Any], pictures: list[bytes]) -> bool:
            subscriptions.add(rig.watched())
            return len(pictures) >= 60

        async def ten() -> list[tuple[list[Any], list[bytes]]]:
            viewers = [receive(rig.url, enough) for _ in range(10)]
            return await asyncio.wait_for(asyncio.gather(*viewers), 2 * DEADLINE_S)

        began_s = time.monotonic()
        received = asyncio.run(ten())
        elapsed_s = time.monotonic() - began_s
        assert elapsed_s > 4  # 6 s at 10 Hz: the rate is bounded
        for texts, pictures in received:
            assert all(each.startswith(b"\xff\xd8") for each in pictures)
            gaps = [b["now"] - a["now"] for a, b in zip(texts[1:], texts[2:])]
            assert sorted(gaps)[len(gaps) // 2] < 300
        shared = set(received[0][1]).intersection(*(pictures for _, pictures in received[1:]))
        # Each is compressed once; on a busy machine not every viewer has every picture.
        assert len(shared) > 5
        assert max(subscriptions) == 1
        until(lambda: not established(rig.port, asleep), "it is disconnected")


@pytest.mark.parametrize(
    ("suffix", "rclpy"), [("image", ""), ("image/compressed", ""), ("image", "humble")]
)
def test_chosen_cameras_with_pictures_of_either_type(
    observer: Any, tmp_path: Path, suffix: str, rclpy: str
) -> None:
    """Without a node, as when a bag is played: its images have stamps of another day."""
    compressed = suffix.endswith("compressed")
    rgb = np.full((200, 400, 3), (0, 0, 200), np.uint8)
    header = Header(stamp=Time(sec=-5))
    picture = jpeg(header, rgb, 90) if compressed else image(header, rgb)
    topics = {name: f"/{name}/emotion" for name in ("left", "right")}
    answers = [observer.create_publisher(EmotionArray, each, 10) for each in topics.values()]
    pictures_of_right = observer.create_publisher(type(picture), f"/right/emotion/{suffix}", 1)

    def enough(texts: list[Any], pictures: list[bytes]) -> bool:
        for each in answers:
            each.publish(EmotionArray(header=header))
        pictures_of_right.publish(picture)
        return bool(pictures) and any(each["samples"] for each in texts[1:])

    parameters = ("port:=0", "emotion_topics:=['/right/*']", "picture_width_px:=100")
    paths = {"PYTHONPATH": f"{SUPPORT / rclpy}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    with Program(tmp_path / "log", "emotion_dashboard", *parameters, **paths) as program:
        viewing = receive(program.url(), enough, topics["right"].encode())
        texts, pictures = asyncio.run(asyncio.wait_for(viewing, DEADLINE_S))
        assert program.stop() == 0
    (camera,) = texts[-1]["cameras"]
    assert camera["topic"] == topics["right"]
    assert camera["latency_ms"] is None
    decoded = cv2.imdecode(np.frombuffer(pictures[-1], np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape == ((200, 400, 3) if compressed else (50, 100, 3))
    assert decoded[25, 50, 0] > 180  # blue
    assert (pictures[-1] == picture.data.tobytes()) == compressed
    for each in (*answers, pictures_of_right):
        observer.destroy_publisher(each)


def test_slow_viewer_gets_the_newest(rig: Rig) -> None:
    """It skips states and pictures; none waits for it in a queue or in the network."""
    late_ms: list[float] = []

    def enough(texts: list[Any], pictures: list[bytes]) -> bool:
        if len(texts) > 1:
            late_ms.append(time.monotonic() * 1e3 - texts[-1]["now"])
        return len(pictures) >= 6

    texts, _ = asyncio.run(receive(rig.url, enough, busy_s=0.3))
    assert max(late_ms) < 1500  # three times of 0.3 s, on a busy machine
    gaps = [b["now"] - a["now"] for a, b in zip(texts[1:], texts[2:])]
    assert min(gaps) > 250


# What goes and comes back.


def test_node_that_is_killed_and_restarted(page: Rig) -> None:
    page.shows("OK: emotion_node: emotions")
    page.node.kill()
    page.shows("No messages since")
    page.shows("STALE: emotion_node: emotions")
    until(lambda: re.search(r"State\s+STALE", page.text()), "the state")
    page.start_node()
    page.shows("Live, ")
    until(lambda: "STALE" not in page.text(), "diagnostics again")
    before = page.picture()
    until(lambda: page.picture() != before, "pictures again")
    assert page.browser.complaints() == []


def test_dashboard_that_is_killed_and_restarted(rig: Rig, tmp_path: Path) -> None:
    with Program(tmp_path / "first", "emotion_dashboard", "port:=0") as first:
        url = first.url()
        rig.browser.open(url)
        rig.shows("Live, ")
        first.process.send_signal(signal.SIGSTOP)
        rig.shows("The dashboard does not answer")
        first.process.send_signal(signal.SIGCONT)
        rig.shows("Live, ")
    rig.shows("No connection to the dashboard")
    parameter = f"port:={port_of(url)}"
    with Program(tmp_path / "second", "emotion_dashboard", parameter) as second:
        rig.shows("Live, ")
        before = rig.picture()
        until(lambda: rig.picture() != before, "pictures again")
        rig.browser.open("about:blank")
        assert second.stop() == 0
    complaints = rig.browser.complaints()
    assert all("ERR_CONNECTION" in each or "WebSocket" in each for each in complaints), complaints
