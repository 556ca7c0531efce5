"""Emotions of the faces in an image: detect, crop, predict, track, smooth."""

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
from esr_core.perception import detection
from esr_core.perception.detection import Detections, Detector
from esr_core.perception.events import Event
from esr_core.perception.face_emotion import FaceEmotion
from esr_core.perception.preprocessing import crop
from esr_core.perception.stream_state import StreamState


@dataclass(frozen=True)
class PipelineOptions:
    """Options of detection, tracking and prediction."""

    model: str = option(
        "",
        "Path of an .onnx network exported by `esr export`. Empty: the network that ships with "
        "the package.",
    )
    provider: str = option("auto", "Execution provider of ONNX Runtime.", choices=PROVIDERS)
    branches: Union[int, str] = option(
        ADAPTIVE,
        "Number of branches to evaluate per face. `adaptive` evaluates the first branch, and the "
        "others only when it is not confident; this lowered the validation accuracy by 0.1 "
        "percentage points or less.",
        (1, 64),
        (ADAPTIVE,),
        live=True,
    )
    threads: int = option(0, "Threads per inference. 0: one per core.", (0, 256))
    detector: str = option(
        "auto",
        "Face detector. `yuface` includes its weights, `opencv` needs `detector_model`. `auto` is "
        "`opencv` if `detector_model` is set, else `yuface`.",
        choices=("auto", "yuface", "opencv"),
    )
    detector_model: str = option("", "Path of a YuNet .onnx file for the detector `opencv`.")
    detection_size_px: int = option(
        256,
        "Longer side of the downscaled image that the detector runs on. 256 detects faces of 28 px "
        "or more in a 640 px wide image; larger values detect smaller faces and take longer.",
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
        (detection.SCORE_FLOOR, 1.0),
        live=True,
    )
    max_faces: int = option(
        16, "Maximum number of faces per image; the largest are kept.", (1, 256), live=True
    )
    track_timeout_s: float = option(
        0.5,
        "Time for which a face keeps its id without being detected, in seconds.",
        (0.0, 60.0),
        live=True,
    )
    smoothing_s: float = option(
        0.25,
        "Time constant of the smoothing of each face's probabilities, valence and arousal, in "
        "seconds. Longer is steadier and slower to follow a change. 0: no smoothing.",
        (0.0, 60.0),
        live=True,
    )
    hysteresis: float = option(
        0.05,
        "The label of a face changes when another emotion is more probable by at least this "
        "margin. 0: no hysteresis.",
        (0.0, 1.0),
        live=True,
    )

    def __post_init__(self) -> None:
        check(self)


class View(NamedTuple):
    """One image to analyze, and the state of the camera that took it."""

    stream: StreamState
    rgb: NDArray[np.uint8]  # (h, w, 3)
    stamp_s: float
    faces: Optional[Detections] = None  # of an external detector; None: run the detector


class FrameAnalysis(NamedTuple):
    """Detections and predictions of one image, independent of the images before it."""

    faces: Detections  # the selected ones, the largest first
    prediction: Prediction  # one row per face


class FrameResult(NamedTuple):
    """Faces of one image, and the events since the image before."""

    faces: List[FaceEmotion]  # the largest first
    events: List[Event]


class EmotionPipeline:
    """Detect, predict, track and smooth faces; one network for any number of cameras.

    ``options`` may be replaced between two calls; those that are not ``live`` have no effect then.
    """

    def __init__(
        self,
        options: Optional[PipelineOptions] = None,
        model: Optional[Model] = None,
        detector: Optional[Detector] = None,
    ) -> None:
        self.options = chosen = options or PipelineOptions()
        self.model = model or load_model(chosen.model or None, chosen.provider, chosen.threads)
        self.detector = detector or detection.open_detector(chosen.detector, chosen.detector_model)
        #: State of the camera of :meth:`step`.
        self.stream = StreamState()

    def warm_up(self) -> None:
        """Run the detector and the network once, as the first call takes longer."""
        self.detector.detect(np.zeros((480, 640, 3), np.uint8), self.options.detection_size_px)
        self.model.warm_up(self.options.max_faces)

    def reset(self) -> None:
        """Remove all faces of :meth:`step`; their ids are not used again."""
        self.stream.reset()

    def step(self, rgb: NDArray[np.uint8], stamp_s: float) -> List[FaceEmotion]:
        """Return the faces of one image (h, w, 3) uint8 taken at ``stamp_s``, the largest first.

        Raises:
            ImageError: not an image of this form.
        """
        return self.answer([View(self.stream, rgb, stamp_s)])[0].faces

    def answer(self, views: Sequence[View]) -> List[FrameResult]:
        """Return the result of one image of each of several cameras, by one call of the network.

        Raises:
            ImageError: an image is not (h, w, 3) uint8; no stream has changed then.
        """
        analyses = self.analyze(views)
        return [self.update(view.stream, view.stamp_s, a) for view, a in zip(views, analyses)]

    def analyze(self, views: Sequence[View]) -> List[FrameAnalysis]:
        """Detect the faces of each image and predict their emotions.

        Only with ``detect_every`` above 1 is a stream used, for its optical flow. Otherwise images
        may be analyzed in any order, and by several pipelines at once.

        Raises:
            ImageError: an image is not (h, w, 3) uint8; no stream has changed then.
        """
        if not views:
            return []
        for rgb in (view.rgb for view in views):
            if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
                got = f"{rgb.shape} {rgb.dtype}"
                raise ImageError(f"an image must be (h, w, 3) uint8, but got {got}")
        detections = [self._detect(view) for view in views]
        spec = self.model.metadata.input
        crops = [crop(view.rgb, faces.boxes, spec) for view, faces in zip(views, detections)]
        batch = crops[0] if len(views) == 1 else np.concatenate(crops)
        prediction = self.model.predict(batch, self.options.branches)
        ends = np.cumsum([len(faces) for faces in detections])[:-1]
        parts = zip(*(np.split(output, ends) for output in prediction))
        return [FrameAnalysis(faces, Prediction(*part)) for faces, part in zip(detections, parts)]

    def _detect(self, view: View) -> Detections:
        """Return the selected faces: external ones, tracked by optical flow, or detected."""
        if view.faces is not None:
            return self._select(view.faces, view.rgb)
        flow = view.stream.flow_tracker
        tracked = flow.track(view.rgb, self.options.detect_every)
        if tracked is not None:
            return self._select(tracked, view.rgb)
        found = detection.find_faces(self.detector, view.rgb, self.options.detection_size_px)
        faces = self._select(found, view.rgb)
        flow.restart(faces)
        return faces

    def _select(self, faces: Detections, rgb: NDArray[np.uint8]) -> Detections:
        """Return the faces above ``min_score`` whose centre is in the image, the largest first."""
        centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
        inside = ((centres >= 0) & (centres < rgb.shape[1::-1])).all(axis=1)
        faces = faces[inside & (faces.scores >= self.options.min_score)]
        area = (faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(axis=1)
        return faces[np.argsort(-area, kind="stable")[: self.options.max_faces]]

    def update(self, stream: StreamState, stamp_s: float, analysis: FrameAnalysis) -> FrameResult:
        """Assign ids to the faces of a stream's next image, smooth them and detect events.

        Call it in the order of stamps. The arrays of the result are read-only, because the state
        refers to them.
        """
        detections, prediction = analysis
        ids = stream.tracker.update(detections.boxes, stamp_s, self.options.track_timeout_s)
        tracked = [track.face_id for track in stream.tracker.tracks]
        ema_filter, smoothing_s = stream.ema_filter, self.options.smoothing_s
        ema_filter.keep(tracked)
        predicted = np.concatenate([prediction.probabilities, prediction.affect], axis=1)
        arrays = detections.boxes, detections.landmarks, prediction.votes
        boxes, landmarks, votes = (np.broadcast_to(a, a.shape) for a in arrays)  # read-only views
        faces = []
        for i, face_id in enumerate(ids.tolist()):
            smooth = ema_filter.update(face_id, predicted[i], stamp_s, smoothing_s)
            emotions = smooth[: len(LABELS)]
            face = FaceEmotion(
                face_id=face_id,
                box=boxes[i],
                score=float(detections.scores[i]),
                landmarks=landmarks[i],
                probabilities=emotions,
                valence=float(smooth[-2]),
                arousal=float(smooth[-1]),
                votes=votes[i],
                emotion=ema_filter.label(face_id, emotions, self.options.hysteresis),
            )
            faces.append(face)
        return FrameResult(faces, stream.event_detector.update(faces, tracked))
