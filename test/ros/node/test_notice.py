"""The notice for the people in front of the cameras."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from std_srvs.srv import SetBool

from esr_core import load_model
from esr_ros.msg import EmotionNotice
from esr_ros.parameters import NodeOptions


def test_notice_follows_what_the_node_does(start: Any, robot: Any) -> None:
    start()
    me = robot()
    notices = me.hear(EmotionNotice, "emotion/notice", latched=True)
    assert me.spin_until(lambda: len(notices) == 1)
    (first,) = notices
    assert first.active
    assert (first.text, first.model) == (NodeOptions().notice_text, load_model().metadata.name)
    now = me.node.get_clock().now().nanoseconds * 1e-9
    assert now - 60 < first.since.sec <= now

    me.call(SetBool, "/emotion_node/enable", SetBool.Request(data=False))
    assert me.spin_until(lambda: len(notices) == 2)
    assert not notices[1].active
    assert (notices[1].since.sec, notices[1].since.nanosec) > (first.since.sec, first.since.nanosec)
    me.call(SetBool, "/emotion_node/enable", SetBool.Request(data=True))
    assert me.spin_until(lambda: len(notices) == 3)
    assert notices[2].active

    value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="Bitte lächeln")
    request = SetParameters.Request(parameters=[Parameter(name="notice_text", value=value)])
    assert me.call(SetParameters, "/emotion_node/set_parameters", request).results[0].successful
    assert me.spin_until(lambda: len(notices) == 4)
    assert (notices[3].text, notices[3].active) == ("Bitte lächeln", True)
    assert notices[3].since == notices[2].since

    late = me.hear(EmotionNotice, "emotion/notice", latched=True)
    assert me.spin_until(lambda: bool(late))
    assert late == [notices[3]]
