"""``esr image``: faces in pictures."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.markup import escape

from esr_core.atomic_write import replacing
from esr_core.cli import output_files, pipeline_flags
from esr_core.cli.command import StdoutConsole, command, count_of
from esr_core.cli.face_table import face_table, table
from esr_core.cli.output_files import Output, WriteFrame
from esr_core.emotions import LABELS
from esr_core.errors import ImageError, OptionError
from esr_core.media.image import find_pictures, read_image
from esr_core.media.records import FrameRecord
from esr_core.media.visualization import draw_faces
from esr_core.perception.face_emotion import FaceEmotion
from esr_core.perception.preprocessing import crop
from esr_core.pipeline import EmotionPipeline

if TYPE_CHECKING:
    from esr_core.network.saliency import Explainer

#: The options of the pipeline that apply to single pictures.
_OPTIONS = (
    *("model", "provider", "branches", "threads", "detector", "detector_model"),
    *("detection_size_px", "min_score", "max_faces"),
)
_COLUMNS = ("face", "x", "y", "w", "h", "emotion", "confidence", "valence", "arousal")


class _Picture(NamedTuple):
    """A picture and its faces."""

    path: Path
    rgb: NDArray[np.uint8]  # (h, w, 3)
    faces: List[FaceEmotion]
    record: FrameRecord
    extras: List[Dict[str, Any]]  # per face: the fields that flags add to its JSON

    @property
    def boxes(self) -> NDArray[np.float32]:
        """(n, 4)"""
        return np.stack([face.box for face in self.faces])


def add(commands: Any) -> None:
    """Add the command."""
    image = command(
        commands,
        "image",
        "Detect the faces in pictures and print their emotions.",
        "esr image group.jpg                          # a table of the faces\n"
        "  esr image *.png --json\n"
        "  esr image group.jpg --save annotated/        # writes annotated/group.png\n"
        "  esr image photos/ --csv photos.csv           # all pictures of a folder\n"
        "  esr image group.jpg --branches 1             # faster and less accurate\n"
        "  esr image group.jpg --show-branches --saliency why/",
        run,
    )
    image.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a picture, or a folder of pictures"
    )
    output_files.add_flags(image, "picture")
    image.add_argument(
        "--save",
        type=Path,
        metavar="FOLDER",
        help="write annotated pictures (boxes, labels, bars) as PNG into this folder",
    )
    image.add_argument(
        "--show-branches",
        action="store_true",
        help="print the vote of each branch; evaluates all branches, regardless of --branches",
    )
    saliency = image.add_argument_group("saliency maps (need PyTorch)")
    saliency.add_argument(
        "--saliency",
        type=Path,
        metavar="FOLDER",
        help="write a picture per face into this folder: the regions that each branch uses "
        "(Grad-CAM)",
    )
    saliency.add_argument(
        "--explain", choices=LABELS, help="the emotion to explain (default: the predicted one)"
    )
    saliency.add_argument(
        "--fine",
        action="store_true",
        help="use the features that the branches share (LayerCAM): smaller regions, more faithful "
        "to the prediction",
    )
    saliency.add_argument(
        "--weights",
        type=Path,
        metavar="FOLDER",
        help="weights of --model (default: those of the shipped network)",
    )
    pipeline_flags.add(image, _OPTIONS, {"detection_size_px": 960})


def run(arguments: argparse.Namespace) -> None:
    """Process all readable pictures, then raise the errors of the others."""
    paths, failed = _paths(arguments.files)
    _check(arguments, paths)
    pipeline = EmotionPipeline(pipeline_flags.chosen(arguments, smoothing_s=0.0))
    if arguments.show_branches:
        branches = pipeline.model.metadata.branches
        pipeline.options = replace(pipeline.options, branches=branches)
    explainer = None
    if arguments.saliency:
        from esr_core.network.saliency import Explainer

        explainer = Explainer(_weights(arguments), arguments.fine)
    process = partial(_process, pipeline, explainer, arguments)
    tasks = [partial(process, number, path) for number, path in enumerate(paths)]
    output_files.process_all(tasks, arguments, failed)


def _paths(given: Iterable[Path]) -> Tuple[List[Path], List[str]]:
    """Return the pictures, and the errors of folders that have none."""
    paths: List[Path] = []
    failed: List[str] = []
    for path in given:
        try:
            paths += find_pictures(path) if path.is_dir() else [path]
        except ImageError as error:
            failed.append(str(error))
    return paths, failed


def _check(arguments: argparse.Namespace, paths: Sequence[Path]) -> None:
    """Refuse conflicting flags, and outputs over files that must not be lost."""
    for flag in ("explain", "fine", "weights"):
        if getattr(arguments, flag) and not arguments.saliency:
            raise OptionError(f"--{flag} is for --saliency FOLDER only")
    save, saliency = arguments.save, arguments.saliency
    outputs = [Output("--save", _annotated(save, path)) for path in paths if save]
    inputs = [*paths]
    if saliency:
        from esr_core.network import checkpoint

        if pipeline_flags.given(arguments).get("model") and not arguments.weights:
            raise OptionError("--saliency needs --weights FOLDER too, those of --model")
        numbers = range(1, pipeline_flags.chosen(arguments).max_faces + 1)
        maps = (_saliency_map(saliency, path, number) for path in paths for number in numbers)
        outputs += [Output("--saliency", each) for each in maps]
        inputs += checkpoint.files(_weights(arguments))
    output_files.check_frames(arguments, inputs, outputs)


def _annotated(folder: Path, path: Path) -> Path:
    return folder / f"{path.stem}.png"


def _saliency_map(folder: Path, path: Path, face: int) -> Path:
    return folder / f"{path.stem}-face{face}.png"


def _weights(arguments: argparse.Namespace) -> Path:
    """Return the folder of the weights that the saliency maps are computed with."""
    from esr_core.network.saliency import default_weights

    return arguments.weights or default_weights()


def _process(
    pipeline: EmotionPipeline,
    explainer: Optional[Explainer],
    arguments: argparse.Namespace,
    number: int,
    path: Path,
    write: WriteFrame,
) -> None:
    """Process one picture, and print or write its results.

    Raises:
        ImageError: it cannot be read.
    """
    rgb = read_image(path)
    pipeline.reset()
    # Face ids count from 1 in each picture: there is no tracking between pictures.
    tracked = enumerate(pipeline.step(rgb, 0.0), start=1)
    faces = [replace(face, face_id=face_id) for face_id, face in tracked]
    record = FrameRecord.of(path, number, 0.0, faces)
    picture = _Picture(path, rgb, faces, record, [{} for _ in faces])
    if faces and arguments.show_branches:
        _add_votes(pipeline, picture)
    if faces and explainer:
        _explain(explainer, picture, arguments)
    write(record)
    _print(picture, arguments.json)
    if arguments.save:
        target = _annotated(arguments.save, path)
        _write(target, draw_faces(rgb, faces))
        output_files.print_path(target, arguments)


def _add_votes(pipeline: EmotionPipeline, picture: _Picture) -> None:
    """Add the vote of each branch, with its probability, to the JSON of the faces."""
    batch = crop(picture.rgb, picture.boxes, pipeline.model.metadata.input)
    outputs = pipeline.model.predict_branches(batch)
    logits = outputs.branch_emotions  # (n, branches, 8)
    odds = np.exp(logits - logits.max(axis=2, keepdims=True))
    confidences = odds.max(axis=2) / odds.sum(axis=2)
    for extra, votes, confidence in zip(picture.extras, outputs.votes, confidences):
        extra["branches"] = [
            {"label": LABELS[vote], "confidence": round(float(p), 4)}
            for vote, p in zip(votes, confidence)
        ]


def _explain(explainer: Explainer, picture: _Picture, arguments: argparse.Namespace) -> None:
    """Write the saliency maps of each face."""
    from esr_core.network.saliency import draw

    chosen = LABELS.index(arguments.explain) if arguments.explain else None
    emotions = [face.emotion if chosen is None else chosen for face in picture.faces]
    arguments.saliency.mkdir(parents=True, exist_ok=True)
    explanations = explainer.explain(picture.rgb, picture.boxes, emotions)
    for i, (explanation, extra) in enumerate(zip(explanations, picture.extras), start=1):
        target = _saliency_map(arguments.saliency, picture.path, i)
        label = LABELS[explanation.emotion]
        draw(target, explanation, f"{picture.path.name}, face {i}: evidence for {label}")
        extra["saliency"] = str(target)


def _print(picture: _Picture, as_json: bool) -> None:
    """Print the faces of a picture, as a JSON line or as a table."""
    if as_json:
        faces = [{**face.as_json(), **e} for face, e in zip(picture.record.faces, picture.extras)]
        for face in faces:
            del face["face_id"]  # has no meaning beyond one picture
        print(json.dumps({"image": str(picture.path), "faces": faces}))
        return
    title = f"{escape(str(picture.path))}: {count_of(len(picture.faces), 'face')}"
    console = StdoutConsole()
    console.print(face_table(title, picture.record.faces, _COLUMNS) if picture.faces else title)
    for i, extra in enumerate(picture.extras, start=1):
        if "branches" in extra:
            branches = enumerate(extra["branches"], start=1)
            rows = [(str(n), vote["label"], f"{vote['confidence']:.1%}") for n, vote in branches]
            title = f"face {i}, votes of the branches"
            console.print(table(title, ("branch", "vote", "probability"), rows, "vote"))
        if "saliency" in extra:
            print(extra["saliency"])


def _write(path: Path, rgb: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _, content = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    with replacing(path) as partial:
        partial.write_bytes(content.tobytes())
