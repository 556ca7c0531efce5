"""Emotions of the faces in an image: detect, crop, predict, track, smooth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from esr_core.errors import ImageError
from esr_core.inference.execution_providers import PROVIDERS
from esr_core.inference.face_detector import DETECTORS, open_detector
from esr_core.inference.onnx_model import ADAPTIVE, Model, Prediction, load_model
from esr_core.options import check, live_option, option
from esr_core.perception.detection import SCORE_FLOOR, Detections, Detector, find_faces, turned
from esr_core.perception.face_emotion import FaceEmotion
from esr_core.perception.preprocessing import crop
from esr_core.perception.stage_timer import StageTimer
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
    branches: Union[int, str] = live_option(
        ADAPTIVE,
        "Number of branches to evaluate per face. `adaptive` evaluates the first branch, and the "
        "others only when it is not confident; this lowered the validation accuracy by 0.2 "
        "percentage points or less.",
        (1, 64),
        (ADAPTIVE,),
    )
    threads: int = option(
        0, "Threads per inference. 0: one per core that the process may use.", (0, 256)
    )
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
    detection_size_px: int = live_option(
        256,
        "Longer side of the downscaled image that the detector runs on. 256 detects faces of 28 px "
        "or more in a 640 px wide image; larger values detect smaller faces and take longer.",
        (64, 4096),
    )
    detect_every: int = live_option(
        1,
        "Run the detector on every N-th image and track faces by optical flow in between: less "
        "work for images without a face, and with a large detection_size_px. A new face appears up "
        "to N-1 images late. The detector runs at once when a face is lost or the scene changes.",
        (1, 30),
    )
    rotate: int = live_option(
        0,
        "Degrees by which images are turned clockwise before faces are detected, for a camera that "
        "is mounted sideways or upside down: upright faces are detected and evaluated reliably. "
        "Boxes, landmarks and annotated images are those of the image as received.",
        choices=(0, 90, 180, 270),
    )
    min_score: float = live_option(
        0.6,
        "Lowest score of a detection by `detector`; detections below it are ignored. The scores of "
        "external detections may mean something else and are not compared.",
        (SCORE_FLOOR, 1.0),
    )
    max_faces: int = live_option(
        16,
        "Maximum number of faces per image; the largest are kept, and the number of the others is "
        "reported. 0: no limit.",
        (0, 256),
    )
    track_timeout_s: float = live_option(
        0.5,
        "Time for which a face keeps its id without being detected, in seconds. A face that is in "
        "two consecutive images keeps it after any pause between them; the node and `esr annotate` "
        "end all faces after 5 s without an image.",
        (0.0, 60.0),
    )
    smoothing_s: float = live_option(
        0.25,
        "Time constant of the smoothing of each face's probabilities, valence and arousal, in "
        "seconds. Longer is steadier and slower to follow a change. 0: no smoothing.",
        (0.0, 60.0),
    )
    hysteresis: float = live_option(
        0.05,
        "The label of a face changes when another emotion is more probable by at least this "
        "margin. 0: no hysteresis.",
        (0.0, 1.0),
    )

    def __post_init__(self) -> None:
        check(self)


class View(NamedTuple):
    """One image to analyze, and the state of the camera that took it."""

    stream: StreamState
    rgb: NDArray[np.uint8]  # (h, w, 3)
    stamp_s: Optional[float]  # None: the image has no stamp
    faces: Optional[Detections] = None  # of an external detector; None: run the detector
    arrival_s: Optional[float] = None  # of a clock that never goes back


class FrameAnalysis(NamedTuple):
    """Detections and predictions of one image, independent of the images before it."""

    faces: Detections  # the selected ones, the largest first
    prediction: Prediction  # one row per face
    left_out: int = 0  # further faces, beyond max_faces


class FrameAnalyzer:
    """Detect, crop and predict: one call of the network for the faces of all images.

    ``options`` may be replaced between two calls; those that are not ``live`` have no effect then.
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
        self.detector = detector or open_detector(options.detector, options.detector_model)

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
        self.model.warm_up(self.options.max_faces or 64)

    def analyze(
        self, views: Sequence[View], timer: Optional[StageTimer] = None
    ) -> List[FrameAnalysis]:
        """Detect the faces of each image and predict their emotions.

        Only with ``detect_every`` above 1 does the result depend on a stream, by its optical flow.
        Otherwise images may be analyzed in any order, and by several analyzers at once.

        timer: measures the stages ``detect``, ``crop`` and ``infer``.

        Raises:
            ImageError: an image is not (h, w, 3) uint8; no stream has changed then.
        """
        if not views:
            return []
        timer = timer or StageTimer()
        for _, rgb, *_ in views:
            if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
                form = f"{rgb.shape} {rgb.dtype}"
                raise ImageError(f"an image must be (h, w, 3) uint8, but got {form}")
        degrees = self.options.rotate  # read once: it may change meanwhile
        upright = []
        for view in views:
            faces = view.faces and view.faces.turned(degrees, view.rgb.shape)
            upright.append(view._replace(rgb=turned(view.rgb, degrees), faces=faces))
        detections, left_out = zip(*map(self._detect, upright))
        timer.lap("detect")
        spec = self.model.metadata.input
        crops = [crop(view.rgb, found.boxes, spec) for view, found in zip(upright, detections)]
        batch = crops[0] if len(views) == 1 else np.concatenate(crops)
        timer.lap("crop")
        prediction = self.model.predict(batch, self.options.branches)
        timer.lap("infer")
        ends = np.cumsum([*map(len, detections)])[:-1]
        parts = zip(*(np.split(output, ends) for output in prediction))
        return [
            FrameAnalysis(found.turned(-degrees, view.rgb.shape), Prediction(*part), count)
            for view, found, part, count in zip(upright, detections, parts, left_out)
        ]

    def _detect(self, view: View) -> Tuple[Detections, int]:
        """Return the selected faces: external ones, tracked by optical flow, or detected.

        The number is that of further faces, beyond ``max_faces``.
        """
        if view.faces is not None:
            return self._select(view.faces, view.rgb, min_score=0.0)
        flow = view.stream.flow_tracker
        tracked = flow.track(view.rgb, self.options.detect_every)
        if tracked is not None:
            faces, left_out = self._select(tracked, view.rgb, self.options.min_score)
            return faces, left_out + flow.left_out
        detected = find_faces(self.detector, view.rgb, self.options.detection_size_px)
        faces, left_out = self._select(detected, view.rgb, self.options.min_score)
        flow.restart(faces, left_out)
        return faces, left_out

    def _select(
        self, faces: Detections, rgb: NDArray[np.uint8], min_score: float
    ) -> Tuple[Detections, int]:
        """Return the faces above a score whose centre is in the image, the largest first."""
        centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
        inside = ((centres >= 0) & (centres < rgb.shape[1::-1])).all(axis=1)
        faces = faces[inside & (faces.scores >= min_score)]
        area = (faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(axis=1)
        kept = faces[np.argsort(-area, kind="stable")[: self.options.max_faces or None]]
        return kept, len(faces) - len(kept)


def limit_reached(left_out: Sequence[int], options: PipelineOptions, image: str) -> str:
    """Return a note about faces beyond ``max_faces``.

    left_out: their number in each image with such, 1 or more. image: the noun of one image.
    """
    pairs = ((sum(left_out), "face"), (len(left_out), image))
    faces, images = (f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in pairs)
    return f"{faces} left out in {images}; max_faces is {options.max_faces}"


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
        return [self.update(v.stream, a, v.stamp_s, v.arrival_s) for v, a in zip(views, analyses)]

    def update(
        self,
        stream: StreamState,
        analysis: FrameAnalysis,
        stamp_s: Optional[float],
        arrival_s: Optional[float] = None,
    ) -> FrameResult:
        """Update a stream with the analysis of its next image."""
        result = stream.update(
            analysis.faces,
            *analysis.prediction,
            stamp_s,
            arrival_s,
            track_timeout_s=self.options.track_timeout_s,
            smoothing_s=self.options.smoothing_s,
            hysteresis=self.options.hysteresis,
        )
        return result._replace(left_out=analysis.left_out)
