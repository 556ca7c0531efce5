"""``esr image``: faces in pictures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Dict, List

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from esr_core import options as declared
from esr_core.cli.command import command
from esr_core.emotions import LABELS
from esr_core.errors import ImageError, OptionError
from esr_core.face import FaceEmotion
from esr_core.image import read_image
from esr_core.pipeline import EmotionPipeline, PipelineOptions

#: Options of the pipeline that make sense for still pictures.
_IMAGE_OPTIONS = (
    "model",
    "provider",
    "threads",
    "detector",
    "detector_model",
    "min_score",
    "max_faces",
)


def add(commands: Any) -> None:
    """Declare the command."""
    image = command(
        commands,
        "image",
        "Find faces in pictures and say what they show.",
        "esr image group.jpg\n  esr image *.png --json\n  esr image group.jpg --save annotated/",
        run,
    )
    image.add_argument("files", nargs="+", type=Path, metavar="FILE")
    image.add_argument("--json", action="store_true", help="one JSON object per picture and line")
    image.add_argument("--save", type=Path, metavar="FOLDER", help="write annotated pictures there")
    image.add_argument(
        "--detection-size-px",
        type=int,
        default=960,
        help="longer side of the picture as the detector sees it (default: %(default)s)",
    )
    for option in declared.options(PipelineOptions):
        if option.name in _IMAGE_OPTIONS:
            image.add_argument(
                "--" + option.name.replace("_", "-"),
                type=type(option.default),
                default=option.default,
                choices=option.choices or None,
                help=f"{option.description} (default: {option.default!r})",
            )


def run(arguments: argparse.Namespace) -> None:
    chosen = {name: getattr(arguments, name) for name in _IMAGE_OPTIONS}
    pipeline = EmotionPipeline(
        PipelineOptions(detection_size_px=arguments.detection_size_px, smoothing_s=0.0, **chosen)
    )
    if arguments.save:
        _check_targets(arguments.files, arguments.save)
    failed: List[str] = []
    for path in arguments.files:
        try:
            rgb = read_image(path)
        except ImageError as error:
            failed.append(str(error))
            continue
        pipeline.reset()
        faces = pipeline.step(rgb, 0.0)
        if arguments.json:
            print(json.dumps({"image": str(path), "faces": [as_json(face) for face in faces]}))
        else:
            _print_faces(path, faces)
        if arguments.save:
            _save_annotated(_target(arguments.save, path), rgb, faces)
    if failed:
        raise ImageError("; ".join(failed))


def as_json(face: FaceEmotion) -> Dict[str, Any]:
    """A face as plain JSON values; the box is x, y, width, height in pixels."""
    x1, y1, x2, y2 = (float(v) for v in face.box)
    return {
        "box": [round(v, 1) for v in (x1, y1, x2 - x1, y2 - y1)],
        "score": round(face.score, 4),
        "label": face.label,
        "confidence": round(face.confidence, 4),
        "probabilities": {
            label: round(float(p), 4) for label, p in zip(LABELS, face.probabilities)
        },
        "valence": round(face.valence, 4),
        "arousal": round(face.arousal, 4),
        "agreement": round(face.agreement, 4),
    }


def _print_faces(path: Path, faces: List[FaceEmotion]) -> None:
    count = f"{len(faces)} face{'' if len(faces) == 1 else 's'}"
    table = Table(title=f"{escape(str(path))}: {count}", title_justify="left")
    for column in ("x", "y", "width", "height", "emotion", "confidence", "valence", "arousal"):
        table.add_column(column, justify="left" if column == "emotion" else "right")
    for face in faces:
        x1, y1, x2, y2 = (float(v) for v in face.box)
        table.add_row(
            *(f"{v:.0f}" for v in (x1, y1, x2 - x1, y2 - y1)),
            face.label,
            f"{face.confidence:.0%}",
            f"{face.valence:+.2f}",
            f"{face.arousal:+.2f}",
        )
    Console().print(table if faces else f"{escape(str(path))}: no face found")


def _target(folder: Path, path: Path) -> Path:
    return folder / f"{path.stem}.png"


def _check_targets(paths: List[Path], folder: Path) -> None:
    """Refuse to write over one of the pictures, or two of them into one file."""
    targets = [_target(folder, path).resolve() for path in paths]
    for path, target in zip(paths, targets):
        if target in {other.resolve() for other in paths}:
            raise OptionError(f"--save {folder} would overwrite {target}; name another folder")
        if targets.count(target) > 1:
            raise OptionError(f"{path}: another picture would be saved as {target} too")


def _save_annotated(path: Path, rgb: NDArray[np.uint8], faces: List[FaceEmotion]) -> None:
    from esr_core.draw import annotate

    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = cv2.cvtColor(annotate(rgb, faces), cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), bgr):
        raise ImageError(f"{path}: cannot be written")
