"""``esr image``: faces in pictures."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from esr_core.atomic_write import replacing
from esr_core.cli import output_files, pipeline_flags
from esr_core.cli.command import command
from esr_core.cli.output_files import Output
from esr_core.emotions import LABELS
from esr_core.errors import ImageError, OptionError
from esr_core.media.image import find_pictures, read_image
from esr_core.media.records import FaceRecord, FrameRecord
from esr_core.media.visualization import draw_faces
from esr_core.perception.face_emotion import FaceEmotion
from esr_core.perception.preprocessing import crop
from esr_core.pipeline import EmotionPipeline

if TYPE_CHECKING:
    from esr_core.network.saliency import Explainer

#: Options of the pipeline that make sense for still pictures.
_IMAGE_OPTIONS = (
    "model",
    "provider",
    "branches",
    "threads",
    "detector",
    "detector_model",
    "detection_size_px",
    "min_score",
    "max_faces",
)


class _Picture(NamedTuple):
    """One picture and what was found in it."""

    path: Path
    rgb: NDArray[np.uint8]  # (h, w, 3)
    faces: List[FaceEmotion]
    more: List[Dict[str, Any]]  # of each face, what flags add to its JSON

    @property
    def boxes(self) -> NDArray[np.float32]:
        """(n, 4)"""
        return np.stack([face.box for face in self.faces])

    @property
    def sightings(self) -> Tuple[FaceRecord, ...]:
        return tuple(FaceRecord.of(face) for face in self.faces)


def add(commands: Any) -> None:
    """Declare the command."""
    image = command(
        commands,
        "image",
        "Find faces in pictures and say what they show.",
        "esr image group.jpg\n  esr image *.png --json\n  esr image group.jpg --save annotated/\n"
        "  esr image photos/ --csv photos.csv\n  esr image group.jpg --branches --saliency why/",
        run,
    )
    image.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a picture, or a folder of pictures"
    )
    image.add_argument("--json", action="store_true", help="one JSON object per picture and line")
    image.add_argument("--csv", type=Path, metavar="FILE", help="one row per face")
    image.add_argument("--save", type=Path, metavar="FOLDER", help="write annotated pictures there")
    image.add_argument("--overwrite", action="store_true", help="write over files that are there")
    image.add_argument(
        "--branches",
        action="store_true",
        help="also what each branch voted, and how sure it was; all of them are asked, whatever "
        "--ask says",
    )
    why = image.add_argument_group("what the branches looked at (needs PyTorch)")
    why.add_argument(
        "--saliency",
        type=Path,
        metavar="FOLDER",
        help="write a picture for each face there: where each branch sees the emotion (Grad-CAM)",
    )
    why.add_argument(
        "--explain", choices=LABELS, help="the emotion in question (default: the face's own)"
    )
    why.add_argument(
        "--fine",
        action="store_true",
        help="by the features that the branches share (LayerCAM): smaller spots, and nearer to "
        "what the answer hangs on",
    )
    why.add_argument(
        "--weights",
        type=Path,
        metavar="FOLDER",
        help="of the network that answers (default: those of the one that ships)",
    )
    pipeline_flags.add(image, _IMAGE_OPTIONS, {"detection_size_px": 960})


def run(arguments: argparse.Namespace) -> None:
    """Answer all pictures that can be read; of the others the error tells then."""
    paths, failed = _paths(arguments.files)
    _check(arguments, paths)
    pipeline = EmotionPipeline(pipeline_flags.chosen(arguments, smoothing_s=0.0))
    if arguments.branches:
        everyone = pipeline.model.metadata.branches
        pipeline.options = replace(pipeline.options, branches=everyone)
    lens = _lens(arguments)
    with output_files.csv_file(arguments.csv) as write:
        answered = 0
        for number, path in enumerate(paths):
            try:
                picture = _answer(pipeline, path, arguments.branches)
            except ImageError as error:
                failed.append(str(error))
                continue
            answered += 1
            if lens:
                _explain(lens, picture, arguments)
            write(FrameRecord(str(path), number, 0.0, picture.sightings))
            _tell(picture, arguments.json)
            if arguments.save:
                target = _annotated(arguments, path)
                _write(target, draw_faces(picture.rgb, picture.faces))
                output_files.name(target, arguments)
        if not answered:
            raise ImageError("; ".join(failed))  # within, so that no empty file is left
    if arguments.csv:
        output_files.name(arguments.csv, arguments)
    if failed:
        raise ImageError("; ".join(failed))


def _paths(given: Iterable[Path]) -> Tuple[List[Path], List[str]]:
    """Return the pictures that are meant, and what is to be said of folders that have none."""
    paths: List[Path] = []
    failed: List[str] = []
    for path in given:
        try:
            paths += find_pictures(path) if path.is_dir() else [path]
        except ImageError as error:
            failed.append(str(error))
    return paths, failed


def _check(arguments: argparse.Namespace, paths: Sequence[Path]) -> None:
    """Refuse flags that do not go together, and to write over what is not to be lost."""
    for flag in ("explain", "fine", "weights"):
        if getattr(arguments, flag) and not arguments.saliency:
            raise OptionError(f"--{flag} is for --saliency FOLDER only")
    if (
        arguments.saliency
        and pipeline_flags.given(arguments).get("model")
        and not arguments.weights
    ):
        raise OptionError("--saliency needs --weights FOLDER too, those of --model")
    outputs = [Output("--csv", arguments.csv)] if arguments.csv else []
    if arguments.save:
        outputs += [Output("--save", _annotated(arguments, path)) for path in paths]
    read = [*paths, *pipeline_flags.files(arguments)]
    if arguments.saliency:
        from esr_core.network import checkpoint

        numbers = range(1, pipeline_flags.chosen(arguments).max_faces + 1)
        whys = (_why(arguments, path, number) for path in paths for number in numbers)
        outputs += [Output("--saliency", why) for why in whys]
        read += checkpoint.files(_weights(arguments))
    output_files.check(outputs, read, arguments.overwrite)


def _annotated(arguments: argparse.Namespace, path: Path) -> Path:
    """Return where the annotated picture goes."""
    target: Path = arguments.save / f"{path.stem}.png"
    return target


def _why(arguments: argparse.Namespace, path: Path, number: int) -> Path:
    """Return where the picture goes of what the branches looked at in a face."""
    target: Path = arguments.saliency / f"{path.stem}-face{number}.png"
    return target


def _weights(arguments: argparse.Namespace) -> Path:
    """Return the folder of what the branches are asked by."""
    from esr_core.network.saliency import default_weights

    return arguments.weights or default_weights()


def _answer(pipeline: EmotionPipeline, path: Path, branches: bool) -> _Picture:
    """Find the faces of one picture.

    Raises:
        ImageError: it cannot be read.
    """
    rgb = read_image(path)
    pipeline.reset()
    found = pipeline.step(rgb, 0.0)
    # Nobody is followed from picture to picture.
    faces = [replace(face, face_id=number) for number, face in enumerate(found, start=1)]
    picture = _Picture(path, rgb, faces, [{} for _ in faces])
    if branches and faces:
        batch = crop(rgb, picture.boxes, pipeline.model.metadata.input)
        said = pipeline.model.predict_branches(batch)
        odds = np.exp(said.branch_emotions - said.branch_emotions.max(axis=2, keepdims=True))
        probabilities = odds / odds.sum(axis=2, keepdims=True)  # (n, branches, 8)
        for more, votes, sure in zip(picture.more, said.votes, probabilities.max(axis=2)):
            more["branches"] = [
                {"label": LABELS[vote], "confidence": round(float(p), 4)}
                for vote, p in zip(votes, sure)
            ]
    return picture


def _lens(arguments: argparse.Namespace) -> Optional[Explainer]:
    if not arguments.saliency:
        return None
    from esr_core.network.saliency import Explainer

    return Explainer(_weights(arguments), arguments.fine)


def _explain(lens: Explainer, picture: _Picture, arguments: argparse.Namespace) -> None:
    """Write a picture for each face that shows what the branches looked at."""
    from esr_core.network.saliency import draw

    if not picture.faces:
        return
    asked = LABELS.index(arguments.explain) if arguments.explain else None
    emotions = [face.emotion if asked is None else asked for face in picture.faces]
    arguments.saliency.mkdir(parents=True, exist_ok=True)
    looks = lens.explain(picture.rgb, picture.boxes, emotions)
    for i, (look, more) in enumerate(zip(looks, picture.more), start=1):
        target = _why(arguments, picture.path, i)
        draw(target, look, f"{picture.path.name}, face {i}: what speaks for {LABELS[look.emotion]}")
        more["saliency"] = str(target)


def _tell(picture: _Picture, as_json: bool) -> None:
    """Print what a picture shows, for programs or for people."""
    if as_json:
        faces = [{**face.as_json(), **more} for face, more in zip(picture.sightings, picture.more)]
        print(json.dumps({"image": str(picture.path), "faces": faces}))
        return
    count = len(picture.faces)
    name = escape(str(picture.path))
    if not count:
        Console().print(f"{name}: no face found")
        return
    table = Table(title=f"{name}: {count} face{'' if count == 1 else 's'}", title_justify="left")
    box = ("x", "y", "wide", "high")
    for column in ("face", *box, "emotion", "confidence", "valence", "arousal"):
        table.add_column(column, justify="left" if column == "emotion" else "right")
    for face in picture.sightings:
        table.add_row(
            str(face.face_id),
            *(f"{v:.0f}" for v in face.box),
            face.label,
            f"{face.confidence:.0%}",
            f"{face.valence:+.2f}",
            f"{face.arousal:+.2f}",
        )
    Console().print(table)
    for i, more in enumerate(picture.more, start=1):
        if "branches" in more:
            Console().print(_votes(f"face {i}, branch by branch", more["branches"]))
        if "saliency" in more:
            print(more["saliency"])


def _votes(title: str, branches: Iterable[Dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("branch", justify="right")
    table.add_column("vote")
    table.add_column("probability", justify="right")
    for number, vote in enumerate(branches, start=1):
        table.add_row(str(number), vote["label"], f"{vote['confidence']:.1%}")
    return table


def _write(path: Path, rgb: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _, content = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    with replacing(path) as partial:
        partial.write_bytes(content.tobytes())
