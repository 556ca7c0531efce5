"""Faces as annotations of foxglove_msgs, which Foxglove draws on the camera's own image."""

from __future__ import annotations

from typing import Any, List, Sequence, Tuple

from std_msgs.msg import Header

from esr_core.emotions import COLOURS_RGB
from esr_core.media.visualization import BOX_PX, LINE_PX, TITLE_PX, TITLE_RGB, title, unit_px
from esr_core.perception.face_emotion import FaceEmotion
from esr_ros.conversions.messages import optional, pixel_box

foxglove = optional("foxglove_msgs")  # without it there is no `emotion/image_annotations`


def image_annotations(header: Header, faces: List[FaceEmotion], shape: Tuple[int, ...]) -> Any:
    """Return the ImageAnnotations of an image: a box per face, and its label above it.

    Sizes and colours are those of :func:`~esr_core.media.visualization.draw_faces`.
    """
    message = foxglove.ImageAnnotations()
    if hasattr(message, "timestamp"):  # from 3.2.5 on
        message.timestamp = header.stamp
    unit = unit_px(shape)
    for face in faces:
        left, top, right, bottom = map(float, pixel_box(face, shape))
        colour = _colour(COLOURS_RGB[face.emotion])
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        message.points.append(
            foxglove.PointsAnnotation(
                timestamp=header.stamp,
                type=foxglove.PointsAnnotation.LINE_LOOP,
                points=[foxglove.Point2(x=x, y=y) for x, y in corners],
                outline_color=colour,
                thickness=BOX_PX * unit,
            )
        )
        message.texts.append(
            foxglove.TextAnnotation(
                timestamp=header.stamp,
                # Of its lower left corner: above the box, or at the top of the image.
                position=foxglove.Point2(x=left, y=max(top, LINE_PX * unit)),
                text=title(face),
                font_size=TITLE_PX * unit,
                text_color=_colour(TITLE_RGB),
                background_color=colour,
            )
        )
    return message


def _colour(rgb: Sequence[int]) -> Any:
    red, green, blue = (each / 255 for each in rgb)
    return foxglove.Color(r=red, g=green, b=blue, a=1.0)
