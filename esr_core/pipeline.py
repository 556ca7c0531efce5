"""Emotions of the faces in an image: detect, crop, predict, track, smooth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import List, NamedTuple, Optional, Sequence, Union

import numpy as np
from numpy.typing import NDArray

from esr_core.errors import ImageError
from esr_core.inference.execution_providers import PROVIDERS
from esr_core.inference.face_detector import DETECTORS, open_detector
from esr_core.inference.onnx_model import ADAPTIVE, Model, Prediction, load_model
from esr_core.options import check, option
from esr_core.perception.detection import SCORE_FLOOR, Detections, Detector, find_faces
from esr_core.perception.face_emotion import FaceEmotion
from esr_core.perception.preprocessing import crop
from esr_core.perception.stream_state import FrameResult as FrameResult
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
        "Weights of the face detector, YuNet. `yuface`: those of libfacedetection, which ship with "
        "the package. `opencv`: the file `detector_model`. `auto`: `opencv` if `detector_model` is "
        "set, else `yuface`.",
        choices=DETECTORS,
    )
    detector_model: str = option(
        "", "Path of another YuNet .onnx file, for example of OpenCV's model zoo."
    )
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
        (SCORE_FLOOR, 1.0),
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


class FrameAnalyzer:
    """Detect, crop and predict: one call of the network for the faces of all images.

    ``options`` may be replaced between two calls; those that are not ``live`` have no effect then.
    OptionError for more branches than the network has.
    """

    def __init__(
        self,
        options: Optional[PipelineOptions] = None,
        model: Optional[Model] = None,
        detector: Optional[Detector] = None,
    ) -> None:
        options = options or PipelineOptions()
        self.model = model or load_model(options.model or None, options.provider, options.threads)
        self.options = options
        self.detector = detector or open_detector(
            self.options.detector, self.options.detector_model
        )

    @property
    def options(self) -> PipelineOptions:
        """The options of the next call."""
        return self._options

    @options.setter
    def options(self, options: PipelineOptions) -> None:
        """Replace the options; OptionError for more branches than the network has."""
        self.model.check_branches(options.branches)
        self._options = options

    def warm_up(self) -> None:
        """Run the detector and the network once, as the first call takes longer."""
        self.detector.detect(np.zeros((480, 640, 3), np.uint8), self.options.detection_size_px)
        self.model.warm_up(self.options.max_faces)

    def analyze(self, views: Sequence[View]) -> List[FrameAnalysis]:
        """Detect the faces of each image and predict their emotions.

        Only with ``detect_every`` above 1 is a stream used, for its optical flow. Otherwise images
        may be analyzed in any order, and by several analyzers at once.

        Raises:
            ImageError: an image is not (h, w, 3) uint8; no stream has changed then.
        """
        if not views:
            return []
        for rgb in (view.rgb for view in views):
            if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
                raise ImageError(
                    f"an image must be (h, w, 3) uint8, but got {rgb.shape} {rgb.dtype}"
                )
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
        detected = find_faces(self.detector, view.rgb, self.options.detection_size_px)
        faces = self._select(detected, view.rgb)
        flow.restart(faces)
        return faces

    def _select(self, faces: Detections, rgb: NDArray[np.uint8]) -> Detections:
        """Return the faces above ``min_score`` whose centre is in the image, the largest first."""
        centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
        inside = ((centres >= 0) & (centres < rgb.shape[1::-1])).all(axis=1)
        faces = faces[inside & (faces.scores >= self.options.min_score)]
        area = (faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(axis=1)
        return faces[np.argsort(-area, kind="stable")[: self.options.max_faces]]


class EmotionPipeline(FrameAnalyzer):
    """Analyze images, track and smooth their faces; one network for any number of cameras."""

    @cached_property
    def stream(self) -> StreamState:
        """State of the camera of :meth:`step`."""
        return StreamState()

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

    def update(self, stream: StreamState, stamp_s: float, analysis: FrameAnalysis) -> FrameResult:
        """Update a stream with the analysis of its next image; call it in the order of stamps."""
        return stream.update(
            analysis.faces,
            *analysis.prediction,
            stamp_s,
            track_timeout_s=self.options.track_timeout_s,
            smoothing_s=self.options.smoothing_s,
            hysteresis=self.options.hysteresis,
        )
