"""From an image to the emotions of the people in it; each stage once, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, NamedTuple, Optional, Sequence, Union

import numpy as np
from numpy.typing import NDArray

from esr_core.emotions import LABELS
from esr_core.errors import ImageError
from esr_core.inference.execution_providers import PROVIDERS
from esr_core.inference.onnx_model import ADAPTIVE, Model, Prediction, load_model
from esr_core.options import check, option
from esr_core.perception.detection import (
    SCORE_FLOOR,
    Detections,
    Detector,
    find_faces,
    open_detector,
)
from esr_core.perception.events import Event
from esr_core.perception.face_emotion import FaceEmotion
from esr_core.perception.preprocessing import crop
from esr_core.perception.stream_state import StreamState


@dataclass(frozen=True)
class PipelineOptions:
    """How faces are found, followed and judged."""

    model: str = option(
        "", "Path of a .onnx network made by 'esr export'; empty: the one that ships."
    )
    provider: str = option("auto", "Execution provider of ONNX Runtime.", choices=PROVIDERS)
    branches: Union[int, str] = option(
        ADAPTIVE,
        "How many of the network's branches are asked about a face, the first ones; adaptive: "
        "until it is decided, which cost 0.1 points of accuracy or less where it was fitted.",
        (1, 64),
        (ADAPTIVE,),
        live=True,
    )
    threads: int = option(0, "Threads of one inference; 0: as many as there are cores.", (0, 256))
    detector: str = option(
        "auto",
        "Face detector: yuface carries its weights, opencv needs detector_model.",
        choices=("auto", "yuface", "opencv"),
    )
    detector_model: str = option("", "Path of a YuNet .onnx file for the detector opencv.")
    detection_size_px: int = option(
        256,
        "The longer side of the image as the detector sees it; 256 finds faces from 28 px on in "
        "a 640 px wide image, larger finds smaller ones, slower.",
        (64, 4096),
        live=True,
    )
    detect_every: int = option(
        1,
        "Run the detector on every N-th image and track faces by optical flow in between, which is "
        "about ten times cheaper. A new face appears up to N-1 images late. The detector runs at "
        "once when a face is lost or the scene changes.",
        (1, 30),
        live=True,
    )
    min_score: float = option(
        0.6,
        "Lowest score of a detection; detections below it are ignored.",
        (SCORE_FLOOR, 1.0),
        live=True,
    )
    max_faces: int = option(
        16, "At most so many faces per image, the largest.", (1, 256), live=True
    )
    track_timeout_s: float = option(
        0.5,
        "A face that is not found keeps its id for so long, in seconds.",
        (0.0, 60.0),
        live=True,
    )
    smoothing_s: float = option(
        0.25,
        "Time constant of the smoothing per face, in seconds; 0: none.",
        (0.0, 60.0),
        live=True,
    )
    hysteresis: float = option(
        0.05,
        "A face keeps its label until another emotion is more probable by so much; 0: none.",
        (0.0, 1.0),
        live=True,
    )

    def __post_init__(self) -> None:
        check(self)


class FrameResult(NamedTuple):
    """What one image shows."""

    faces: List[FaceEmotion]  # the largest first
    events: List[Event]  # what is new since the image before


class View(NamedTuple):
    """One image to be answered, and the camera that it is from."""

    stream: StreamState
    rgb: NDArray[np.uint8]  # (h, w, 3)
    stamp_s: float
    faces: Optional[Detections] = None  # found by somebody else; None: they are to be found


class FrameAnalysis(NamedTuple):
    """What one image shows by itself, whatever was before it."""

    faces: Detections  # those that are judged, the largest first
    prediction: Prediction  # of each of them


class EmotionPipeline:
    """Detect, track, crop, predict, smooth; one network for any number of cameras.

    ``options`` may be replaced between two steps; those that are not ``live`` have no effect then.
    """

    def __init__(
        self,
        options: Optional[PipelineOptions] = None,
        model: Optional[Model] = None,
        detector: Optional[Detector] = None,
    ) -> None:
        self.options = options or PipelineOptions()
        self.model = model or load_model(
            self.options.model or None, self.options.provider, self.options.threads
        )
        self.detector = detector or open_detector(
            self.options.detector, self.options.detector_model
        )
        self.stream = StreamState()

    def reset(self) -> None:
        """Forget all faces of :meth:`step`; their ids are not given again."""
        self.stream.reset()

    def warm_up(self) -> None:
        """Pay for what only the first frame costs."""
        self.detector.detect(np.zeros((480, 640, 3), np.uint8), self.options.detection_size_px)
        self.model.warm_up(self.options.max_faces)

    def step(self, rgb: NDArray[np.uint8], stamp_s: float) -> List[FaceEmotion]:
        """Analyze one image (h, w, 3) uint8 taken at ``stamp_s``, the largest face first.

        Raises:
            ImageError: not an image of this form.
        """
        return self.answer([View(self.stream, rgb, stamp_s)])[0].faces

    def answer(self, views: Sequence[View]) -> List[FrameResult]:
        """Analyze one image of each of several cameras with one call of the network.

        Raises:
            ImageError: one is not (h, w, 3) uint8; nothing is answered or remembered then.
        """
        return [
            self.tell(view.stream, view.stamp_s, seen) for view, seen in zip(views, self.see(views))
        ]

    def see(self, views: Sequence[View]) -> List[FrameAnalysis]:
        """Find the faces and judge each by this image alone.

        Of what a stream remembers only ``detect_every`` above 1 makes use here; else images may be
        seen in any order, and by several pipelines at once.

        Raises:
            ImageError: one is not (h, w, 3) uint8; nothing is remembered then.
        """
        if not views:
            return []
        for rgb in (view.rgb for view in views):
            if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
                raise ImageError(
                    f"an image must be (h, w, 3) uint8, but got {rgb.shape} {rgb.dtype}"
                )
        found = [self._faces(view) for view in views]
        spec = self.model.metadata.input
        batches = [crop(view.rgb, faces.boxes, spec) for view, faces in zip(views, found)]
        batch = batches[0] if len(views) == 1 else np.concatenate(batches)
        prediction = self.model.predict(batch, self.options.branches)
        ends = np.cumsum([len(faces) for faces in found])[:-1]
        parts = zip(*(np.split(answers, ends) for answers in prediction))
        return [FrameAnalysis(faces, Prediction(*part)) for faces, part in zip(found, parts)]

    def _faces(self, view: View) -> Detections:
        """Find the faces to judge, by what is cheapest."""
        if view.faces is not None:
            return self._judged(view.faces, view.rgb)
        followed = view.stream.follower.follow(view.rgb, self.options.detect_every)
        if followed is not None:
            return self._judged(followed, view.rgb)
        found = find_faces(self.detector, view.rgb, self.options.detection_size_px)
        faces = self._judged(found, view.rgb)
        view.stream.follower.detected(faces)
        return faces

    def _judged(self, faces: Detections, rgb: NDArray[np.uint8]) -> Detections:
        """Choose the faces that are sure enough and centred in the image, the largest first."""
        height, width = rgb.shape[:2]
        centre_x = (faces.boxes[:, 0] + faces.boxes[:, 2]) / 2
        centre_y = (faces.boxes[:, 1] + faces.boxes[:, 3]) / 2
        inside = (centre_x >= 0) & (centre_x < width) & (centre_y >= 0) & (centre_y < height)
        faces = faces[inside & (faces.scores >= self.options.min_score)]
        area = (faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(axis=1)
        return faces[np.argsort(-area, kind="stable")[: self.options.max_faces]]

    def tell(self, stream: StreamState, stamp_s: float, seen: FrameAnalysis) -> FrameResult:
        """Give each face its id, and put what it shows now together with what it showed before.

        Of each stream, images must be told in their order.
        """
        faces, prediction = seen
        tracker, smoother = stream.tracker, stream.smoother
        ids = tracker.update(faces.boxes, stamp_s, self.options.track_timeout_s)
        followed = [track.face_id for track in tracker.tracks]
        smoother.keep(followed)
        answers = np.concatenate([prediction.probabilities, prediction.affect], axis=1)
        results = []
        for i, face_id in enumerate(ids.tolist()):
            smooth = smoother.update(face_id, answers[i], stamp_s, self.options.smoothing_s)
            probabilities = smooth[: len(LABELS)]
            results.append(
                FaceEmotion(
                    face_id=face_id,
                    box=faces.boxes[i],
                    score=float(faces.scores[i]),
                    landmarks=faces.landmarks[i],
                    probabilities=probabilities,
                    valence=float(smooth[-2]),
                    arousal=float(smooth[-1]),
                    votes=prediction.votes[i],
                    emotion=smoother.label(face_id, probabilities, self.options.hysteresis),
                )
            )
        return FrameResult(results, stream.chronicle.update(results, followed))
