"""Faults of cameras, clocks, disks and processes around a node."""

from __future__ import annotations

import array
import contextlib
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifecycle_msgs.msg import Transition
from numpy.typing import NDArray
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from esr_core import load_model
from esr_core.errors import ImageError
from esr_ros.conversions.image_decoding import decode

Photo = NDArray[np.uint8]
#: It takes 0.2 s; this is for a machine that does much else meanwhile.
EXIT_S = 10.0
RELIABLE = ("-p", "reliability:=reliable")
ENCODINGS = ("rgb8", "bgr8", "mono8", "mono16", "bgra8", "bayer_rggb8", "yuv422", "nv12", "jpeg")


def lying_image(random: np.random.Generator) -> Image:
    """An image whose fields have nothing to do with each other."""
    image = Image(
        height=int(random.choice([0, 1, 2, 7, 48, 480, 2**31])),
        width=int(random.choice([0, 1, 2, 9, 64, 640, 2**32 - 1])),
        step=int(random.choice([0, 1, 3, 64, 192, 1920, 2**32 - 1])),
        encoding=str(random.choice(ENCODINGS)),
        is_bigendian=int(random.integers(0, 256)),
    )
    size = int(random.choice([0, 1, 17, 3072, 9216]))
    if random.random() < 0.5 and image.height * image.step < 100_000:
        size = image.height * image.step  # not every lie is about the size
    image.data = array.array("B", random.bytes(size))
    return image


def test_ten_thousand_images_that_lie_are_decoded_or_refused() -> None:
    random = np.random.default_rng(1)
    outcomes = {"decoded": 0, "refused": 0}
    for _ in range(10_000):
        image = lying_image(random)
        try:
            rgb = decode(image)
        except ImageError:
            outcomes["refused"] += 1
        else:
            assert rgb.shape == (image.height, image.width, 3)
            outcomes["decoded"] += 1
    assert min(outcomes.values()) > 100, outcomes


@settings(max_examples=1000, deadline=None, database=None)
@given(
    height=st.integers(0, 40) | st.integers(0, 2**32 - 1),
    width=st.integers(0, 40) | st.integers(0, 2**32 - 1),
    step=st.integers(0, 200) | st.integers(0, 2**32 - 1),
    encoding=st.sampled_from(ENCODINGS) | st.text(),
    is_bigendian=st.integers(0, 255),
    content=st.binary(max_size=8000),
)
def test_no_field_of_an_image_breaks_the_decoder(
    height: int, width: int, step: int, encoding: str, is_bigendian: int, content: bytes
) -> None:
    image = Image(height=height, width=width, step=step, is_bigendian=is_bigendian)
    image.encoding = encoding.replace("\0", "")
    image.data = array.array("B", content)
    with contextlib.suppress(ImageError):  # any other error is a defect
        assert decode(image).shape == (height, width, 3)


def test_after_each_image_that_lies_the_next_is_answered(
    met: Any, photograph: Photo, to_image: Any
) -> None:
    node, me = met()
    random = np.random.default_rng(2)
    small, lies = to_image(np.ascontiguousarray(photograph[::2, ::2])), 300
    for _ in range(lies):
        me.send(lying_image(random))
        time.sleep(0.004)  # or the next would displace it
        assert len(me.ask(small).emotions) == 1
    assert node.process.poll() is None
    assert "Traceback" not in node.said
    assert me.spin_until(lambda: int(me.diagnostics.get("undecodable", 0)) > lies / 4)


def test_camera_that_is_started_again(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    start(*RELIABLE)
    first = robot()
    first.meet(to_image(photograph))
    first.node.destroy_node()
    second = robot()
    second.meet(to_image(photograph))
    assert len(second.ask(to_image(photograph)).emotions) == 1


def test_two_cameras_on_one_topic(start: Any, robot: Any, photograph: Photo, to_image: Any) -> None:
    start(*RELIABLE)
    first, second = robot(), robot()
    second._number = 5000
    first.meet(to_image(photograph))
    second.meet(to_image(photograph))
    for _ in range(5):
        assert len(first.ask(to_image(photograph)).emotions) == 1
        assert len(second.ask(to_image(photograph)).emotions) == 1


def test_resolution_and_encoding_change_from_image_to_image(
    met: Any, photograph: Photo, to_image: Any
) -> None:
    node, me = met()
    for size, encoding in [((640, 480), "bgr8"), ((1280, 960), "rgb8"), ((320, 240), "bgr8")] * 2:
        resized = cv2.resize(photograph, size)
        (face,) = me.ask(to_image(resized, encoding)).emotions
        assert face.label == "happy"
        assert face.roi.x_offset == pytest.approx(242 * size[0] / 640, abs=size[0] / 40)
    assert "Traceback" not in node.said


def test_time_that_jumps_back(met: Any, photograph: Photo, to_image: Any) -> None:
    _, me = met()
    me._number = 50
    before = [me.ask(to_image(photograph)).emotions[0].face_id for _ in range(3)][-1]
    me._number = 0  # a bag that starts over
    me.answers.clear()
    # At the first of these images; at the third if a busy machine paused before the jump, which
    # looks like the start of another recording.
    *_, third, fourth = [me.ask(to_image(photograph)).emotions[0].face_id for _ in range(4)]
    assert third == fourth > before


def test_sensor_that_stalls(met: Any, photograph: Photo, to_image: Any) -> None:
    node, me = met()
    assert me.spin_until(lambda: me.diagnostics.get("message", "").startswith("no images"), 15)
    node.wait_until(lambda: "no images for " in node.said, "a warning")
    assert len(me.ask(to_image(photograph)).emotions) == 1
    assert me.spin_until(lambda: not me.diagnostics["message"].startswith("no images"), 15)


def test_camera_that_was_there_long_before(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    me = robot()
    for _ in range(20):
        me.send(to_image(photograph))
        me.spin_until(lambda: False, 0.1)
    start(*RELIABLE)
    me.meet(to_image(photograph))
    assert len(me.ask(to_image(photograph)).emotions) == 1


def test_bag_that_loops_with_its_clock(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    node = start(*RELIABLE, "-p", "use_sim_time:=true")
    me = robot()
    clock = me.node.create_publisher(Clock, "/clock", 10)

    def tick() -> None:
        now = Clock()
        now.clock.sec, tenth = divmod(me._number, 10)
        now.clock.nanosec = tenth * 100_000_000
        clock.publish(now)

    me.meet(to_image(photograph))
    ids = []
    for _ in range(3):
        me._number = 100
        me.answers.clear()
        for _ in range(15):
            (face,) = me.ask(to_image(photograph)).emotions
            tick()
            ids.append(face.face_id)
    # One face a round: it is followed within each, and the jump back ends the track.
    assert [len(set(ids[i : i + 15])) for i in (0, 15, 30)] == [1, 1, 1]
    assert len(set(ids)) == 3
    assert "Traceback" not in node.said


def test_disk_that_is_full_costs_words_only(met: Any, photograph: Photo, to_image: Any) -> None:
    node, me = met(log=Path("/dev/full"))
    me.send(lying_image(np.random.default_rng(3)))  # which it would warn of
    assert len(me.ask(to_image(photograph)).emotions) == 1
    node.process.send_signal(signal.SIGINT)
    assert node.process.wait(timeout=10) == 0


def test_node_that_is_killed_and_started_again(
    met: Any, start: Any, photograph: Photo, to_image: Any
) -> None:
    node, me = met()
    node.process.kill()
    node.process.wait()
    me.answers.clear()
    start(*RELIABLE)
    me.meet(to_image(photograph))
    assert len(me.ask(to_image(photograph)).emotions) == 1


def test_model_file_that_is_overwritten_meanwhile(
    met: Any, photograph: Photo, to_image: Any, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    shutil.copy(load_model().path, path)
    node, me = met("-p", f"model:={path}")
    path.write_bytes(b"no network any more")
    assert len(me.ask(to_image(photograph)).emotions) == 1

    assert me.change_state(Transition.TRANSITION_DEACTIVATE)
    assert me.change_state(Transition.TRANSITION_CLEANUP)
    assert not me.change_state(Transition.TRANSITION_CONFIGURE)
    assert "ONNX Runtime does not load it" in node.said
    shutil.copy(load_model().path, path)
    assert me.change_state(Transition.TRANSITION_CONFIGURE), node.said
    assert me.change_state(Transition.TRANSITION_ACTIVATE)
    me.answers.clear()
    me.meet(to_image(photograph))


def catches(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return bool(int(status.split("SigCgt:")[1].split()[0], 16) >> (number - 1) & 1)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_0_after_repeated_signals(start: Any, stop: signal.Signals) -> None:
    for delay_s in (0.0, 0.02, 0.05, 0.1):
        node = start(is_fresh=True)
        node.wait_until(lambda node=node: "subscribed" in node.said, "start")
        while node.process.poll() is None:
            node.process.send_signal(stop)
            time.sleep(delay_s)
        assert node.process.returncode == 0, node.said
        assert "Traceback" not in node.said


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_0_at_any_moment(start: Any, stop: signal.Signals) -> None:
    for delay_s in np.arange(0.0, 1.2, 0.1):
        node = start(is_fresh=True)
        # Before its first line is read, Python itself is what ends.
        node.wait_until(lambda node=node: catches(node.process.pid, signal.SIGTERM), "handlers")
        time.sleep(delay_s)
        node.process.send_signal(stop)
        code = node.process.wait(timeout=EXIT_S)
        assert code == 0, f"after {delay_s:.1f} s; it said {node.said}"
        assert "Traceback" not in node.said
