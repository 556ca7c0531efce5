"""The node as a process, over DDS."""

from __future__ import annotations

import array
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np
import pytest
from ament_index_python.packages import get_package_share_directory
from lifecycle_msgs.msg import Transition
from numpy.typing import NDArray
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from sensor_msgs.msg import CompressedImage, Image

from esr_core.options import options
from esr_ros.msg import EmotionArray
from esr_ros.parameters import NodeOptions

Photo = NDArray[np.uint8]
DEFAULT = str(Path(get_package_share_directory("esr_ros")) / "config" / "default.yaml")
#: Single test images must not be lost. It comes after a parameter file, as the later of two wins.
RELIABLE = ("-p", "reliability:=reliable")


def test_one_face_two_faces_none(start: Any, robot: Any, photograph: Photo, to_image: Any) -> None:
    start("--params-file", DEFAULT, *RELIABLE)
    me = robot()
    me.meet(to_image(photograph))
    one = me.ask(to_image(photograph))
    number = max(me.answers)
    assert one.header.frame_id == f"camera_{number}"
    assert (one.header.stamp.sec, one.header.stamp.nanosec) == (number // 10, number % 10 * 10**8)
    (face,) = one.emotions
    assert face.label == "happy"
    assert face.probabilities.sum() == pytest.approx(1.0, abs=1e-4)
    assert face.roi.x_offset < 64 + 222 < face.roi.x_offset + face.roi.width
    assert face.roi.y_offset < 120 < face.roi.y_offset + face.roi.height
    half = cv2.resize(photograph[:, 64:384], (320, 480))
    two = me.ask(to_image(np.hstack([half, half[:, ::-1]])))
    assert len({emotion.face_id for emotion in two.emotions}) == 2
    none = me.ask(to_image(np.full_like(photograph, 90)))
    assert none.emotions == []
    assert me.ask(to_image(photograph)).emotions[0].face_id == face.face_id


def test_best_effort_cameras_are_received_by_default(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    node = start()
    me = robot()
    me.meet(to_image(photograph, "bgr8"))
    assert "best_effort, depth 1" in node.said


def test_bad_images_are_counted_and_the_next_good_one_is_answered(
    met: Any, photograph: Photo, to_image: Any
) -> None:
    node, me = met("-p", "warning_period_s:=0.1")
    short = to_image(photograph)
    short.height = 481
    empty = Image(encoding="rgb8")
    strange = to_image(photograph)
    strange.encoding = "h264"
    for number, (bad, message) in enumerate(
        [
            (
                short,
                "a 640x481 rgb8 image with a step of 1920 must hold 923520 bytes, but holds 921600",
            ),
            (empty, "a 0x0 rgb8 image has no pixels"),
            (strange, "encoding 'h264' is unknown; known are bgr8"),
        ],
        start=1,
    ):
        me.send(bad)
        assert me.spin_until(lambda n=number: me.diagnostics.get("undecodable") == str(n)), (
            node.said
        )
        assert me.spin_until(lambda m=message: m in node.said), node.said
        time.sleep(0.1)  # until warning_period_s is over: an earlier warning would not be logged
    assert me.spin_until(lambda: me.diagnostics.get("message") == "images cannot be decoded")
    assert len(me.ask(to_image(photograph)).emotions) == 1
    assert me.spin_until(lambda: me.diagnostics.get("message") == "processing images")


def test_faces_beyond_the_limit_are_counted(met: Any, photograph: Photo, to_image: Any) -> None:
    node, me = met("-p", "max_faces:=1")
    half = cv2.resize(photograph[:, 64:384], (320, 480))
    two = me.ask(to_image(np.hstack([half, half[:, ::-1]])))
    assert len(two.emotions) == 1
    assert me.spin_until(lambda: me.diagnostics.get("left_out") == "1"), node.said
    assert "image_raw: 1 face left out in 1 image; max_faces is 1" in node.said


def test_smallest_and_largest_images(met: Any, photograph: Photo, to_image: Any) -> None:
    _, me = met()
    assert me.ask(to_image(photograph[:1, :1])).emotions == []
    large = cv2.resize(photograph, (7680, 4320))
    (face,) = me.ask(to_image(large)).emotions
    assert face.roi.width > 600
    assert len(me.ask(to_image(photograph)).emotions) == 1


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_compressed(
    start: Any, robot: Any, photograph: Photo, to_compressed: Any, suffix: str
) -> None:
    start(*RELIABLE, "-r", "image_raw:=camera/image_raw/compressed")
    me = robot(image_topic="camera/image_raw/compressed", message_type=CompressedImage)
    me.meet(to_compressed(photograph, suffix))
    damaged = to_compressed(photograph, suffix)
    damaged.data = array.array("B", damaged.data[:5])
    me.send(damaged)
    assert len(me.ask(to_compressed(photograph, suffix)).emotions) == 1


@pytest.mark.parametrize(
    ("kind", "topic"),
    [(CompressedImage, "camera/image_compressed"), (Image, "camera/compressed")],
)
def test_type_of_an_image_topic_is_that_of_its_publisher(
    start: Any,
    robot: Any,
    photograph: Photo,
    to_image: Any,
    to_compressed: Any,
    kind: Any,
    topic: str,
) -> None:
    """Not that of its name; and it may change when the camera is started again."""
    node = start(*RELIABLE, "-r", f"image_raw:={topic}")
    images = {Image: to_image(photograph), CompressedImage: to_compressed(photograph, ".jpg")}
    first = robot(image_topic=topic, message_type=kind)
    first.meet(images[kind])
    assert len(first.ask(images[kind]).emotions) == 1
    assert f"subscribed to /{topic} ({kind.__name__}, reliable, depth 10), as is publ" in node.said
    first.node.destroy_publisher(first._images)
    (other,) = {*images} - {kind}
    second = robot(image_topic=topic, message_type=other)
    second.meet(images[other])
    assert len(second.ask(images[other]).emotions) == 1
    assert "Traceback" not in node.said


def test_camera_is_turned_while_the_node_runs(met: Any, photograph: Photo, to_image: Any) -> None:
    _, me = met()
    (upright,) = me.ask(to_image(photograph)).emotions

    def rotate(degrees: int) -> Any:
        value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=degrees)
        request = SetParameters.Request(parameters=[Parameter(name="rotate", value=value)])
        response = me.call(SetParameters, "/emotion_node/set_parameters", request)
        return response.results[0]

    turned = to_image(np.ascontiguousarray(np.rot90(photograph)))  # counterclockwise
    assert rotate(90).successful
    (face,) = me.ask(turned).emotions
    assert face.label == upright.label == "happy"
    roi, was = face.roi, upright.roi
    assert (roi.x_offset, roi.width, roi.height) == (was.y_offset, was.height, was.width)
    assert roi.y_offset == 640 - was.x_offset - was.width
    assert rotate(45).reason == "rotate must be one of 0, 90, 180, 270, but got 45"
    pictures = me.hear(Image, "emotion/image")
    me.show_until(lambda: bool(pictures), turned)
    assert (pictures[-1].height, pictures[-1].width) == (640, 480)


def test_topic_of_another_type_is_named(start: Any, robot: Any) -> None:
    node = start()
    robot(message_type=EmotionArray)
    node.wait_until(lambda: "robot publishes esr_ros/msg/EmotionArray" in node.said, "the warning")
    assert "The types differ; those of images are sensor_msgs/msg/Image and" in node.said
    assert "FASTDDS_BUILTIN_TRANSPORTS" not in node.said


def test_topic_of_two_types(start: Any, robot: Any) -> None:
    node = start()
    robot()
    other = (
        "import rclpy, sensor_msgs.msg as msg\nrclpy.init()\nnode = rclpy.create_node('other')\n"
        "node.create_publisher(msg.CompressedImage, 'image_raw', 1)\nrclpy.spin(node)"
    )
    with subprocess.Popen([sys.executable, "-c", other]) as process:
        text = "other publishes sensor_msgs/msg/CompressedImage"
        node.wait_until(lambda: text in node.said, "both publishers")
        process.kill()
    assert "The types differ; those of images are" in node.said
    assert "FASTDDS_BUILTIN_TRANSPORTS" not in node.said


@pytest.mark.parametrize("bits", [8, 12])
def test_16_bit_images_of_a_camera_that_uses_fewer(met: Any, photograph: Photo, bits: int) -> None:
    _, me = met()
    wide = cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 257 >> (16 - bits)
    message = Image(height=480, width=640, encoding="mono16", step=1280, is_bigendian=1)
    message.data = array.array("B", wide.astype(">u2").tobytes())
    (face,) = me.ask(message).emotions
    assert face.label == "happy"
    values = f"0 to {2**bits - 1}"
    assert me.spin_until(lambda: me.diagnostics.get("pixel values") == values), me.diagnostics


def test_namespace_and_remapping(start: Any, robot: Any, photograph: Photo, to_image: Any) -> None:
    names = ("-r", "__ns:=/head", "-r", "image_raw:=/eyes/left")
    start(*names, "--params-file", DEFAULT, *RELIABLE)
    me = robot(image_topic="/eyes/left", emotion_topic="/head/emotion")
    me.meet(to_image(photograph))
    assert len(me.ask(to_image(photograph)).emotions) == 1


def test_images_faster_than_work_are_dropped_not_queued(
    met: Any, photograph: Photo, to_image: Any
) -> None:
    _, me = met("-p", "detection_size_px:=1024")
    message = to_image(photograph)
    before = len(me.answers)
    last = [me.send(message) for _ in range(40)][-1]
    assert me.spin_until(lambda: last in me.answers)
    assert len(me.answers) - before < 40

    def all_counted() -> bool:
        names = ("received", "answered", "stale", "missed")
        received, answered, stale, missed = (int(me.diagnostics.get(k, -1)) for k in names)
        # What was sent before they met was not missed, so only the last 40 are sure.
        return received == answered + stale and received + missed >= 40 and stale + missed > 0

    assert me.spin_until(all_counted), me.diagnostics


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "min_scor:=0.5"], "/emotion_node: unknown parameter min_scor (nearest: min_score"),
        (["-p", "branches:=10"], "branches must be adaptive, or from 1 to 9 for ESR-9-f"),
        (["-p", "min_score:=7.0"], "min_score must be from 0.3 to 1, but got 7.0"),
        (["-p", "min_score:=high"], "min_score must be a float, but got 'high'"),
        (["-p", "smoothing_s:=1"], "smoothing_s must be a float: write 1.0"),
        (["--params-file", "/nowhere.yaml"], "/nowhere.yaml'. Error: Error opening YAML file\n"),
        (["-p", "nonsense"], "'-p nonsense'; wanted is -p NAME:=VALUE\n"),
        (["-r", "nonsense"], "'-r nonsense'; wanted is -r FROM:=TO\n"),
        (["--log-level", "loud"], "'--log-level loud'. Error: Argument does not use a valid"),
        (["--nonsense"], "emotion_node: unknown after --ros-args: ['--nonsense']\n"),
        (["--", "nonsense"], "emotion_node: unknown: nonsense; ROS's arguments come after --ros"),
        (["-p", "reliability:=sometimes"], "reliability must be one of best_effort, reliable"),
        (["-p", "model:=/nowhere/x.onnx"], "/nowhere/x.onnx: no such model file"),
        (["-p", "detector:=opencv", "-p", "detector_model:=/no.onnx"], "/no.onnx: no such file"),
    ],
)
def test_wrong_start_ends_with_what_was_wrong(
    start: Any, arguments: list[str], message: str
) -> None:
    node = start(*arguments)
    assert node.exit_code() == 2
    assert message in node.said
    assert "Traceback" not in node.said
    assert ".c:" not in node.said.splitlines()[-1]


def test_help_names_every_parameter() -> None:
    done = subprocess.run(["emotion_node", "--help"], capture_output=True, text=True, check=True)
    for o in options(NodeOptions):
        assert f"  {o.name} " in done.stdout


def test_parameter_of_a_type_that_does_not_exist_is_refused(start: Any, robot: Any) -> None:
    node, me = start(), robot()
    odd = Parameter(name="min_score", value=ParameterValue(type=99))
    request = SetParameters.Request(parameters=[odd, odd])
    response = me.call(SetParameters, "/emotion_node/set_parameters", request)
    assert [result.successful for result in response.results] == [False, False]
    assert response.results[0].reason == "unknown parameter type: {99}"
    atomic = SetParametersAtomically.Request(parameters=[odd])
    name = "/emotion_node/set_parameters_atomically"
    assert not me.call(SetParametersAtomically, name, atomic).result.successful
    assert node.stop() == 0


def test_own_detections_are_not_external_detections(start: Any) -> None:
    node = start("-p", "detections_topic:=emotion/detections")
    assert node.exit_code() == 2
    assert "detections_topic emotion/detections is published by this node itself" in node.said


@pytest.mark.parametrize("domain", ["999", "abc", "-1"])
def test_domain_that_cannot_be(start: Any, domain: str) -> None:
    node = start(environment={"ROS_DOMAIN_ID": domain})
    assert node.exit_code() == 2
    assert node.said == f"emotion_node: ROS_DOMAIN_ID must be from 0 to 232, but is '{domain}'\n"


def test_misspelt_name_in_a_file(start: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("/**/emotion_node:\n  ros__parameters:\n    smothing_s: 0.1\n")
    node = start("--params-file", str(file))
    assert node.exit_code() == 2
    assert "unknown parameter smothing_s" in node.said


@pytest.mark.parametrize("nodes", ["/**", "/*", "/robot/**"])
def test_parameters_that_nodes_share(start: Any, tmp_path: Path, nodes: str) -> None:
    """Some are of other nodes; what the node knows is taken, and checked."""
    in_robot = ("-r", "__ns:=/robot") if "robot" in nodes else ()
    mine = "robot: r2, gains: {p: 1.0, i: [1, 2]}, autostart: false"
    shared = f"{nodes}: {{ros__parameters: {{{mine}, "
    file, own = tmp_path / "shared.yaml", tmp_path / "own.yaml"
    file.write_text(f"{shared}min_score: 0.7}}}}\ncamera: {{ros__parameters: {{fps: 30}}}}\n")
    node = start(*in_robot, "--params-file", str(file))
    text = "emotion_node]: ignored, as they are for all nodes and unknown to this one: gains.i, "
    node.wait_until(lambda: text in node.said, "the warning")
    assert node.stop() == 0
    own.write_text("/**/emotion_node: {ros__parameters: {robots: r2}}\n")
    node = start(*in_robot, "--params-file", str(file), "--params-file", str(own))
    assert node.exit_code() == 2
    assert "/emotion_node: unknown parameter robots; known are" in node.said
    file.write_text(f"{shared}min_score: 7.0}}}}\n")
    node = start(*in_robot, "--params-file", str(file))
    assert node.exit_code() == 2
    assert "min_score must be from 0.3 to 1, but got 7.0" in node.said


@pytest.mark.parametrize(
    "environment", [{"HOME": "/proc/nohome", "ROS_LOG_DIR": ""}, {"ROS_LOG_DIR": "/proc/1"}]
)
def test_logs_that_cannot_be_written(start: Any, environment: dict[str, str]) -> None:
    node = start(environment=environment)
    assert node.exit_code() == 2
    assert node.said.endswith("; set ROS_LOG_DIR to a folder that can be written\n")
    assert "Traceback" not in node.said


def test_lifecycle_by_a_manager(start: Any, robot: Any, photograph: Photo, to_image: Any) -> None:
    node = start(*RELIABLE, "-p", "autostart:=false")
    me = robot()
    for _ in range(2):
        assert me.change_state(Transition.TRANSITION_CONFIGURE)
        assert me.change_state(Transition.TRANSITION_ACTIVATE)
        me.answers.clear()
        me.meet(to_image(photograph))
        assert len(me.ask(to_image(photograph)).emotions) == 1
        assert me.change_state(Transition.TRANSITION_DEACTIVATE)
        before = len(me.answers)
        me.send(to_image(photograph))
        assert not me.spin_until(lambda n=before: len(me.answers) > n, 1.0)
        assert me.change_state(Transition.TRANSITION_CLEANUP)
    assert node.stop() == 0, node.said


def test_parameters_change_live_or_are_refused_with_a_reason(
    met: Any, photograph: Photo, to_image: Any
) -> None:
    _, me = met()

    def change(name: str, value: ParameterValue) -> Any:
        request = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
        return me.call(SetParameters, "/emotion_node/set_parameters", request).results[0]

    few = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=1)
    assert change("branches", few).successful
    assert me.ask(to_image(photograph)).emotions[0].agreement in (0.0, 1.0)
    until_decided = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="adaptive")
    assert change("branches", until_decided).successful
    strict = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=1.0)
    assert change("min_score", strict).successful
    assert me.ask(to_image(photograph)).emotions == []
    path = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="x.onnx")
    refused = change("model", path)
    assert not refused.successful
    assert "cannot be changed at run time" in refused.reason
    refused = change("smothing_s", strict)
    assert not refused.successful
    assert refused.reason.startswith("unknown parameter smothing_s (nearest: smoothing_s); known ")
    many = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=10)
    assert change("branches", many).reason.startswith("branches must be adaptive, or from 1 to 9")
    assert me.ask(to_image(photograph)).emotions == []


def test_start_only_parameters_are_taken_by_an_unconfigured_node(start: Any, robot: Any) -> None:
    node, me = start("-p", "autostart:=false"), robot()

    def change(text: str) -> Any:
        value = ParameterValue(type=ParameterType.PARAMETER_STRING_ARRAY, string_array_value=[text])
        request = SetParameters.Request(parameters=[Parameter(name="image_topics", value=value)])
        return me.call(SetParameters, "/emotion_node/set_parameters", request).results[0]

    assert change("first").successful
    assert change("front/image_raw").successful
    assert me.change_state(Transition.TRANSITION_CONFIGURE), node.said
    assert "restart the node, or clean it up first" in change("other").reason
    assert me.change_state(Transition.TRANSITION_ACTIVATE)
    assert me.change_state(Transition.TRANSITION_DEACTIVATE)
    assert me.change_state(Transition.TRANSITION_CLEANUP)
    assert "subscribed to /front/image_raw" in node.said
    assert change("back/image_raw").successful
    assert me.change_state(Transition.TRANSITION_CONFIGURE)
    assert me.change_state(Transition.TRANSITION_ACTIVATE)
    assert "subscribed to /back/image_raw" in node.said
    assert node.stop() == 0


def test_interrupt_ends_it_cleanly(
    start: Callable[..., Any], robot: Any, photograph: Photo, to_image: Any
) -> None:
    node = start(is_fresh=True)
    robot().meet(to_image(photograph))
    assert node.stop() == 0
    assert "Traceback" not in node.said


def test_silence_says_topic_and_qos(start: Any, robot: Any) -> None:
    node = start(environment={"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"})
    robot(image_topic="elsewhere")
    node.wait_until(lambda: "no images yet on /image_raw" in node.said, "the warning")
    assert "this node subscribes to Image, best_effort, depth 1; no publishers" in node.said
    # A participant with it and one without do not discover each other.
    assert "LARGE_DATA is set here" in node.said


def test_a_publisher_that_is_not_heard_may_be_of_another_user(start: Any, robot: Any) -> None:
    """Discovery is by UDP, images by shared memory, which users do not share."""
    node, me = start(), robot()
    node.wait_until(lambda: "no images yet on /image_raw" in node.said, "the warning")
    advice = "as another user, root for example, Fast DDS's shared memory carries nothing"
    assert advice in node.said
    assert "set FASTDDS_BUILTIN_TRANSPORTS='UDPv4?sockets_size=8MB' for this node" in node.said
    assert me.spin_until(lambda: advice in me.diagnostics.get("problem", "")), me.diagnostics


def test_impossible_stamps_are_answered(met: Any, photograph: Photo, to_image: Any) -> None:
    node, me = met()
    me.answers.clear()
    before = to_image(photograph)
    before.header.stamp.sec = -5
    me._images.publish(before)
    assert me.spin_until(lambda: -50 in me.answers)
    me._images.publish(to_image(photograph))
    assert me.spin_until(lambda: 0 in me.answers)
    assert len(me.ask(to_image(photograph)).emotions) == 1
    assert node.process.poll() is None


def test_reliability_that_changes_after_a_cleanup(start: Any, robot: Any) -> None:
    node, me = start("-p", "autostart:=false"), robot()
    for reliability, depth in (("reliable", 10), ("best_effort", 1), ("reliable", 10)):
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=reliability)
        request = SetParameters.Request(parameters=[Parameter(name="reliability", value=value)])
        name = "/emotion_node/set_parameters"
        assert me.call(SetParameters, name, request).results[0].successful
        assert me.change_state(Transition.TRANSITION_CONFIGURE)
        assert me.change_state(Transition.TRANSITION_ACTIVATE)
        subscribed = node.said.rpartition("subscribed to ")[2]
        assert subscribed.startswith(f"/image_raw (Image, {reliability}, depth {depth})")
        assert me.change_state(Transition.TRANSITION_DEACTIVATE)
        assert me.change_state(Transition.TRANSITION_CLEANUP)
