"""The command line ``esr``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from esr_core import options as declared
from esr_core import recipe
from esr_core.catalogue import CATALOGUE, get
from esr_core.emotions import LABELS
from esr_core.errors import AnotherTraining, EsrError, ImageError, OptionError
from esr_core.image import read_image
from esr_core.infer import load_model
from esr_core.metadata import Metadata
from esr_core.pipeline import EmotionPipeline, FaceEmotion, PipelineOptions
from esr_core.progress import bar, training_bar
from esr_core.recipe import Augmentation, Recipe

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

#: What a training needs besides a recipe; also allowed in a file for --config.
_TRAINING_ARGUMENTS = {
    "data": "folder with FER+ (train.npz.xz, valid.npz.xz), or with AffectNet",
    "out": "folder for weights, curves, and the state to go on from",
    "device": "cpu or cuda (default: cpu)",
    "start": "folder of weights to train on from (default: a new network)",
    "images": "train on so many images only, to try things",
}


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
        if error.name not in ("torch", "onnx", "yaml", "matplotlib"):
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
        "Measure a network on FER+ (majority protocol), or on AffectNet's validation set.",
        "esr evaluate --data valid.npz.xz\n"
        "  esr evaluate --data data/AffectNet --model my.onnx --json",
        _evaluate,
    )
    evaluate.add_argument(
        "--data", type=Path, required=True, metavar="DATA", help="a file of FER+, or a data folder"
    )
    evaluate.add_argument(
        "--model", default="", help=".onnx file or folder of weights; default: the one that ships"
    )
    evaluate.add_argument("--json", action="store_true")

    train = _command(
        commands,
        "train",
        "Train a network on FER+ or AffectNet; the same command goes on after a kill.",
        "esr train --data data/ferplus --out checkpoints/esr-4\n"
        "  esr train --config my.yaml --seed 2 --out checkpoints/second\n"
        "  esr train --data data/ferplus --out /tmp/try --images 640 --stages 56x1\n"
        "  torchrun --nproc-per-node 4 -m esr_core.cli train --config my.yaml --device cuda",
        _train,
    )
    train.add_argument(
        "--config", type=Path, metavar="FILE.yaml", help="any of these options; flags come first"
    )
    for name, what in _TRAINING_ARGUMENTS.items():
        train.add_argument("--" + name, metavar=name.upper(), help=what)
    train.add_argument("--fresh", action="store_true", help="begin anew, whatever OUT holds")
    train.add_argument("--json", action="store_true")
    train.add_argument(
        "--stages",
        nargs="+",
        metavar="SIZExEPOCHS",
        help=f"sizes, px, and epochs at each (default: {' '.join(map(str, Recipe().stages))})",
    )
    _add_training_options(train)

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

    download = _command(
        commands,
        "download",
        "Fetch what the published learner offers, or a face detector; goes on after a break.",
        "esr download face_detector --to models\n"
        "  esr download pretrained --url http://mirror/facial_emotion_estimation",
        _download,
    )
    download.add_argument(
        "what",
        choices=list(CATALOGUE),
        metavar="WHAT",
        help="; ".join(f"{name}: {item.description}" for name, item in CATALOGUE.items()),
    )
    download.add_argument(
        "--to", type=Path, default=Path(), metavar="FOLDER", help="(default: the current folder)"
    )
    download.add_argument("--url", help="another server that has the same folders")
    download.add_argument("--json", action="store_true")
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


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each option of a recipe, and of its augmentation."""
    for group, cls in (("how to train", Recipe), ("how far augmented views go", Augmentation)):
        flags = parser.add_argument_group(group)
        for option in declared.options(cls):
            kind = type(option.default)
            alone: Dict[str, Any] = {"nargs": "?", "const": True} if kind is bool else {}
            flags.add_argument(
                "--" + option.name.replace("_", "-"),
                dest=option.name,
                type=kind if kind is not bool else _flag,
                **alone,
                choices=option.choices or None,
                metavar=None if option.choices else kind.__name__.upper(),
                help=f"{option.description.replace('%', '%%')} (default: {option.default!r})",
            )


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"must be true or false, but got {text!r}")
    return text.lower() == "true"


def _evaluate(arguments: argparse.Namespace) -> None:
    from esr_core.evaluate import evaluate

    predict, metadata = _predictor(arguments.model)
    if arguments.data.is_dir():
        from esr_core.data.faces import open_split

        data = open_split(arguments.data, "validation", "categorical")
    else:
        from esr_core.data import ferplus

        data = ferplus.read(arguments.data)
    with bar("faces") as progress:
        task = progress.add_task("evaluating", total=len(data))
        report = evaluate(
            predict,
            data,
            metadata.input,
            on_progress=lambda done: progress.update(task, completed=done),
        )
    if arguments.json:
        print(json.dumps(report.summary()))
        return
    table = Table(title=f"{metadata.name} on {report.n} images: {report.accuracy:.2%}")
    for column in ("is", "recall", *LABELS):
        table.add_column(column, justify="right")
    for label, row in zip(LABELS, report.confusion):
        table.add_row(label, f"{report.recall[label]:.1%}", *(str(count) for count in row))
    console = Console()
    console.print(table)
    console.print(
        f"by vote {report.accuracy_vote:.2%}, macro F1 {report.macro_f1:.3f}, "
        f"calibration error {report.ece:.3f}"
    )
    for name, affect in (("valence", report.valence), ("arousal", report.arousal)):
        console.print(
            f"{name}: RMSE {affect.rmse:.3f}, CCC {affect.ccc:.3f}, Pearson {affect.pearson:.3f}, "
            f"same sign {affect.sign_agreement:.1%}"
        )


def _predictor(model: str) -> Tuple[Any, Metadata]:
    if model and Path(model).is_dir():
        from esr_core import checkpoint
        from esr_core.evaluate import torch_predictor

        esr, metadata = checkpoint.load(Path(model))
        return torch_predictor(esr), metadata
    loaded = load_model(model or None)
    return loaded.predict, loaded.metadata


def _train(arguments: argparse.Namespace) -> None:
    from esr_core import checkpoint
    from esr_core.data.faces import open_split
    from esr_core.distributed import leads
    from esr_core.train import train

    values = recipe.read(arguments.config) if arguments.config else {}
    views = values.get("augmentation") or {}
    for option in (*declared.options(Recipe), *declared.options(Augmentation)):
        given = getattr(arguments, option.name)
        if given is not None:
            of_views = hasattr(Augmentation, option.name)
            (views if of_views and isinstance(views, dict) else values)[option.name] = given
    if views:
        values["augmentation"] = views
    if arguments.stages:
        values["stages"] = arguments.stages
    where = {
        name: getattr(arguments, name) or values.pop(name, None) for name in _TRAINING_ARGUMENTS
    }
    for name in _TRAINING_ARGUMENTS:
        values.pop(name, None)
    for name in ("data", "out"):
        if not where[name]:
            raise OptionError(f"--{name} is needed, or '{name}:' in the --config file")
    chosen = recipe.from_dict(values, str(arguments.config or "esr train"))
    kind = "dimensional" if chosen.method == "affect" else "categorical"
    folder = Path(str(where["data"]))
    training = open_split(folder, "training", kind, chosen.labels)
    if where["images"]:
        training = training.subset(_whole_number("images", where["images"]))
    validation = open_split(folder, "validation", kind)
    start = checkpoint.load(Path(str(where["start"])))[0] if where["start"] else None
    out = Path(str(where["out"]))
    with training_bar(chosen.batch_size, leads()) as show:
        try:
            report = train(
                training,
                validation,
                chosen,
                out,
                show,
                device=str(where["device"] or "cpu"),
                start=start,
                fresh=arguments.fresh,
            )
        except AnotherTraining as error:
            raise OptionError(f"{error}; take another --out, or begin anew with --fresh") from error
    if not leads():
        return
    if arguments.json:
        print(json.dumps(report.summary()))
    else:
        print(
            f"{report.accuracy:.2%} of {report.n} images; weights, history.csv and curves.png "
            f"in {out}"
        )


def _whole_number(name: str, value: Any) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1:
        raise OptionError(f"{name} must be a whole number from 1 on, but got {value!r}")
    return number


def _export(arguments: argparse.Namespace) -> None:
    from esr_core import checkpoint
    from esr_core.crop import whole
    from esr_core.data import ferplus
    from esr_core.export import CALIBRATION_FACES, export_fp32, export_int8

    esr, metadata = checkpoint.load(arguments.checkpoint)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    if arguments.int8:
        faces = ferplus.read(arguments.int8, "cross_entropy").subset(CALIBRATION_FACES).images
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


def _download(arguments: argparse.Namespace) -> None:
    place = get(CATALOGUE[arguments.what], arguments.to, arguments.url)
    print(json.dumps({"path": str(place)}) if arguments.json else place)


if __name__ == "__main__":
    sys.exit(main())
