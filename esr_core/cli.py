"""The command line ``esr``."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from esr_core import options as declared
from esr_core.emotions import LABELS
from esr_core.errors import EsrError, ImageError, OptionError
from esr_core.infer import load_model
from esr_core.pipeline import EmotionPipeline, FaceEmotion, PipelineOptions

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


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one command; returns 0, or 2 after one line on stderr that says what was wrong."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.run(parsed)
        return 0
    except EsrError as error:
        print(f"esr {parsed.command}: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "onnx"):
            raise
        print(
            f"esr {parsed.command}: {error.name} is not installed; run 'make test' in a clone, "
            "or \"pip install '.[train]'\"",
            file=sys.stderr,
        )
        return 2
    except OSError as error:  # a folder that is a file, a full disk, no permission
        print(
            f"esr {parsed.command}: {error.filename or 'output'}: {error.strerror}", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        print(f"esr {parsed.command}: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="esr", description="Emotions of faces, by Ensembles with Shared Representations."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    image = _command(
        commands,
        "image",
        "Find faces in pictures and say what they show.",
        "esr image group.jpg\n  esr image *.png --json\n  esr image group.jpg --save annotated/",
        _image,
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

    evaluate = _command(
        commands,
        "evaluate",
        "Measure a network on FER+ (majority protocol).",
        "esr evaluate --data valid.npz.xz\n"
        "  esr evaluate --data valid.npz.xz --model my.onnx --json",
        _evaluate,
    )
    evaluate.add_argument("--data", type=Path, required=True, metavar="FILE")
    evaluate.add_argument("--model", default="", help=".onnx file; default: the one that ships")
    evaluate.add_argument("--json", action="store_true")

    train = _command(
        commands,
        "train",
        "Train a network on FER+ from scratch.",
        "esr train --data train.npz.xz --valid valid.npz.xz --out checkpoints/esr-4\n"
        "  esr train --data train.npz.xz --valid valid.npz.xz --out /tmp/try --images 640 "
        "--stage 56x1",
        _train,
    )
    train.add_argument("--data", type=Path, required=True, metavar="FILE")
    train.add_argument("--valid", type=Path, required=True, metavar="FILE")
    train.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    train.add_argument("--branches", type=int, default=4)
    train.add_argument("--diversified", action="store_true", help="ESR*: attention in every layer")
    train.add_argument(
        "--stage",
        action="append",
        metavar="SIZExEPOCHS",
        help="repeat for growing sizes (default: 56x3 72x1 96x2)",
    )
    train.add_argument("--batch-size", type=int, default=64)
    train.add_argument("--learning-rate", type=float, default=0.05)
    train.add_argument("--images", type=int, help="train on so many images only, to try things")
    train.add_argument("--seed", type=int, default=1)
    train.add_argument("--json", action="store_true")

    export = _command(
        commands,
        "export",
        "Turn trained weights into an .onnx file.",
        "esr export checkpoints/esr-4 esr-4.onnx\n"
        "  esr export checkpoints/esr-4 esr-4-int8.onnx --int8 train.npz.xz",
        _export,
    )
    export.add_argument("checkpoint", type=Path, metavar="FOLDER")
    export.add_argument("out", type=Path, metavar="FILE.onnx")
    export.add_argument("--int8", type=Path, metavar="DATA", help="quantize, calibrated on DATA")
    export.add_argument("--json", action="store_true")
    return parser


def _command(
    commands: Any, name: str, summary: str, examples: str, run: Any
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"examples:\n  {examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _image(arguments: argparse.Namespace) -> None:
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


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read a picture as RGB, (h, w, 3) uint8.

    Raises:
        ImageError: no such file, or not a picture.
    """
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
        bgr = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    except cv2.error as error:
        raise ImageError(f"{path}: cannot be decoded ({error.err})") from error
    if bgr is None:
        raise ImageError(f"{path}: not a picture that can be read, such as JPEG or PNG")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


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


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    from esr_core.data import ferplus
    from esr_core.evaluate import evaluate

    model = load_model(arguments.model or None)
    data = ferplus.read(arguments.data)
    with _progress() as progress:
        task = progress.add_task("evaluating", total=len(data))
        report = evaluate(
            model.predict,
            data,
            model.metadata.input,
            on_progress=lambda done: progress.update(task, completed=done),
        )
    if arguments.json:
        print(json.dumps(report.summary()))
        return
    table = Table(title=f"{model.metadata.name} on {report.n} images: {report.accuracy:.2%}")
    for column in ("is", "recall", *LABELS):
        table.add_column(column, justify="right")
    for label, row in zip(LABELS, report.confusion):
        table.add_row(label, f"{report.recall[label]:.1%}", *(str(count) for count in row))
    console = Console()
    console.print(table)
    console.print(f"by vote {report.accuracy_vote:.2%}, calibration error {report.ece:.3f}")


def _train(arguments: argparse.Namespace) -> None:
    from esr_core.data import ferplus
    from esr_core.train import Progress as Step
    from esr_core.train import Recipe, Stage, train

    for name in ("branches", "batch_size", "images"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise OptionError(f"--{name.replace('_', '-')} must be 1 or more, but got {value}")
    recipe = Recipe(
        branches=arguments.branches,
        diversified=arguments.diversified,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        seed=arguments.seed,
    )
    if arguments.stage:
        stages = tuple(Stage.parse(text) for text in arguments.stage)
        recipe = replace(recipe, stages=stages)
    training = ferplus.read(arguments.data, "soft")
    if arguments.images:
        training = training.subset(arguments.images)
    validation = ferplus.read(arguments.valid)
    with _progress() as progress:
        task = progress.add_task("training", total=None)

        def show(step: Step) -> None:
            progress.update(
                task,
                total=step.steps,
                completed=step.step,
                description=f"epoch {step.epoch} at {step.size_px} px, loss {step.loss:.3f}",
            )
            if step.report:
                progress.console.print(
                    f"epoch {step.epoch}: {step.report.accuracy:.2%} of {step.report.n} images"
                )

        report = train(training, validation, recipe, arguments.out, show)
    if arguments.json:
        print(json.dumps(report.summary()))
    else:
        print(f"{report.accuracy:.2%} of {report.n} images; weights in {arguments.out}")


def _export(arguments: argparse.Namespace) -> None:
    from esr_core import checkpoint
    from esr_core.crop import whole
    from esr_core.data import ferplus
    from esr_core.export import CALIBRATION_FACES, export_fp32, export_int8

    esr, metadata = checkpoint.load(arguments.checkpoint)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    if arguments.int8:
        faces = ferplus.read(arguments.int8, "soft").subset(CALIBRATION_FACES).images
        fp32 = arguments.out.with_name(arguments.out.name + ".fp32")
        try:
            export_fp32(esr, metadata, fp32)
            export_int8(fp32, metadata, whole(faces, metadata.input), arguments.out)
        finally:
            fp32.unlink(missing_ok=True)
    else:
        export_fp32(esr, metadata, arguments.out)
    size_mb = arguments.out.stat().st_size / 1e6
    if arguments.json:
        print(json.dumps({"file": str(arguments.out), "name": metadata.name, "size_mb": size_mb}))
    else:
        print(f"{arguments.out}: {metadata.name}, {size_mb:.1f} MB")
