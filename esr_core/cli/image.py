"""``esr image``: faces in pictures."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

import cv2
import numpy as np
from rich.markup import escape

from esr_core.atomic_write import replacing
from esr_core.cli import output_files, pipeline_flags
from esr_core.cli.command import StdoutConsole, command, faces_of, given, note
from esr_core.cli.output_files import WriteFrame
from esr_core.cli.tables import face_table, table
from esr_core.emotions import LABELS
from esr_core.errors import ImageError, OptionError
from esr_core.file_names import as_utf8
from esr_core.media.image import count_pages, find_pictures, read_image
from esr_core.media.records import FrameRecord
from esr_core.media.visualization import draw_faces
from esr_core.perception.detection import turned, turned_boxes
from esr_core.perception.preprocessing import crop
from esr_core.perception.stream_state import StreamState
from esr_core.pipeline import EmotionPipeline, PipelineOptions, View, limit_reached

if TYPE_CHECKING:
    from esr_core.network.saliency import Explainer

#: The options of the pipeline that apply to single pictures.
_OPTIONS = (
    *("model", "provider", "branches", "threads", "detector", "detector_model"),
    *("detection_size_px", "rotate", "min_score", "max_faces"),
)
_COLUMNS = ("face", "x", "y", "w", "h", "emotion", "confidence", "valence", "arousal")


def add(commands: Any) -> None:
    """Declare the command."""
    image = command(commands, "image", run)
    flag = image.add_argument
    flag("files", nargs="+", type=Path, metavar="FILE", help="a picture, or a folder of pictures")
    output_files.add_flags(image, "picture")
    save_help = "write annotated pictures (boxes, labels, bars) as PNG into this folder"
    flag("--save", type=Path, metavar="FOLDER", help=save_help)
    votes_help = "print the vote of each branch; evaluates all branches, regardless of --branches"
    flag("--show-branches", action="store_true", help=votes_help)
    flag = image.add_argument_group("saliency maps (need PyTorch)").add_argument
    maps_help = "write a picture per face into this folder: the regions that each branch uses"
    flag("--saliency", type=Path, metavar="FOLDER", help=maps_help)
    flag("--explain", choices=LABELS, help="the emotion to explain (default: the predicted one)")
    fine_help = "use the features that the branches share (LayerCAM): smaller regions, more "
    fine_help += "faithful to the prediction; networks below 96 px, such as the shipped one, "
    flag("--fine", action="store_true", help=fine_help + "always do")
    weights_help = "weights of --model (default: those of the shipped network)"
    flag("--weights", type=Path, metavar="FOLDER", help=weights_help)
    pipeline_flags.add(image, _OPTIONS, {"detection_size_px": 960, "max_faces": 0})


def run(arguments: argparse.Namespace) -> None:
    """Detect the faces in pictures and print their emotions.

    examples:
      esr image group.jpg                          # a table of the faces
      esr image *.png --json
      esr image group.jpg --save annotated/        # writes annotated/group.png
      esr image photos/ --csv photos.csv           # all pictures of a folder
      esr image group.jpg --branches 1             # faster and less accurate
      esr image group.jpg --show-branches --saliency why/
    """
    paths: List[Path] = []
    failed: List[str] = []
    notes: List[str] = []
    for named in arguments.files:
        try:
            pictures, others = find_pictures(named) if named.is_dir() else ([named], [])
        except ImageError as error:
            failed.append(str(error))
            continue
        paths += pictures
        if others:
            names = ", ".join(each.name for each in others)
            notes.append(f"{named}: left out, as no pictures: {names}")
    _check(arguments, paths)
    for text in notes:
        note(arguments, text)
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


def _check(arguments: argparse.Namespace, paths: Sequence[Path]) -> None:
    """Refuse conflicting flags, and outputs over files that must not be lost."""
    for flag in ("explain", "fine", "weights"):
        if getattr(arguments, flag) and not arguments.saliency:
            raise OptionError(f"--{flag} is for --saliency FOLDER only")
    inputs = [*paths]
    outputs = [("--save", _annotated(arguments, path)) for path in paths if arguments.save]
    if arguments.saliency:
        from esr_core.network import checkpoint

        if given(arguments, PipelineOptions).get("model") and not arguments.weights:
            raise OptionError("--saliency needs --weights FOLDER too, those of --model")
        # The number of faces is unknown: only names that are in use already can conflict.
        used = [*arguments.saliency.glob("*.png"), *(path for _, path in outputs), *paths]
        used += filter(None, [arguments.csv])
        found = (re.search(r"-face(\d+)\.png$", each.name) for each in used)
        numbers = {1, *(int(each[1]) for each in found if each)}
        maps = (_saliency_map(arguments, path, number) for path in paths for number in numbers)
        outputs += [("--saliency", each) for each in maps]
        inputs += checkpoint.files(_weights(arguments))
    output_files.check_frames(arguments, inputs, outputs)


def _annotated(arguments: argparse.Namespace, path: Path) -> Path:
    return Path(arguments.save, f"{path.stem}.png")


def _saliency_map(arguments: argparse.Namespace, path: Path, face: int) -> Path:
    return Path(arguments.saliency, f"{path.stem}-face{face}.png")


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
    """Process one picture, and print or write its results."""
    rgb = read_image(path)
    # There is no tracking between pictures: face ids count from 1 in each.
    (result,) = pipeline.answer([View(StreamState(), rgb, 0.0)])
    faces = result.faces
    record = FrameRecord.of(path, number, 0.0, result, rgb.shape)
    results = [face.as_json() for face in record.faces]
    degrees = pipeline.options.rotate
    upright = turned(rgb, degrees)
    boxes = turned_boxes(np.array([face.box for face in faces]), degrees, rgb.shape)
    if faces and arguments.show_branches:
        crops = crop(upright, boxes, pipeline.model.metadata.input)
        outputs = pipeline.model.predict_branches(crops)
        logits = outputs.branch_emotions  # (n, branches, 8)
        confidences = 1 / np.exp(logits - logits.max(axis=2, keepdims=True)).sum(axis=2)
        for face_result, *of_face in zip(results, outputs.votes, confidences.tolist()):
            face_result["branches"] = [
                {"label": LABELS[vote], "confidence": round(p, 4)} for vote, p in zip(*of_face)
            ]
    if faces and explainer:
        from esr_core.network.saliency import draw

        emotions = [LABELS.index(arguments.explain or face.label) for face in faces]
        arguments.saliency.mkdir(parents=True, exist_ok=True)
        for i, explanation in enumerate(explainer.explain(upright, boxes, emotions), start=1):
            target = _saliency_map(arguments, path, i)
            label = LABELS[explanation.emotion]
            draw(target, explanation, f"{as_utf8(path.name)}, face {i}: evidence for {label}")
            results[i - 1]["saliency"] = str(target)
    write(record)
    if arguments.json:
        for face_result in results:
            del face_result["face_id"]  # has no meaning beyond one picture
        print(json.dumps({"image": str(path), **record.json_of_faces(results)}))
    else:
        _print(record, results)
    pages = count_pages(path)
    if pages > 1:
        note(arguments, f"{path}: the first of its {pages} pictures is processed, no other")
    if record.left_out:
        beyond = limit_reached([record.left_out], pipeline.options, "picture")
        note(arguments, f"{path}: {beyond}")
    if arguments.save:
        target = _annotated(arguments, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        drawn = cv2.cvtColor(draw_faces(rgb, faces), cv2.COLOR_RGB2BGR)
        with replacing(target) as unfinished:
            unfinished.write_bytes(cv2.imencode(".png", drawn)[1].tobytes())
        if not arguments.json:
            print(target)


def _print(record: FrameRecord, results: Sequence[Dict[str, Any]]) -> None:
    """Print the faces of a picture as tables."""
    title = f"{escape(record.source)}: {faces_of(record)}"
    console = StdoutConsole()
    console.print(face_table(title, record.faces, _COLUMNS) if results else title)
    for i, result in enumerate(results, start=1):
        if "branches" in result:
            branches = enumerate(result["branches"], start=1)
            rows = [(str(n), vote["label"], f"{vote['confidence']:.1%}") for n, vote in branches]
            title = f"face {i}, votes of the branches"
            console.print(table(title, ("branch", "vote", "probability"), rows, "vote"))
        if "saliency" in result:
            print(result["saliency"])
