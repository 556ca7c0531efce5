"""The options of the pipeline as command-line flags."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Union

from esr_core import options as declared
from esr_core.inference.onnx_model import default_model
from esr_core.options import Option
from esr_core.pipeline import PipelineOptions


def add(
    parser: argparse.ArgumentParser,
    names: Optional[Iterable[str]] = None,
    defaults: Optional[Dict[str, Any]] = None,
) -> None:
    """Add a flag for each option of the pipeline: ``--min-score`` for ``min_score``.

    names: restricts the options. defaults: replace defaults of the pipeline. The parsed arguments
    hold the added options and their defaults in ``pipeline_defaults``.
    """
    group = parser.add_argument_group("detection, tracking and inference")
    added = {}
    for option in declared.options(PipelineOptions):
        if names is not None and option.name not in names:
            continue
        default = added[option.name] = (defaults or {}).get(option.name, option.default)
        shown_default = "" if default == "" else f" (default: {default})"
        choices = None if option.word_or_number else option.choices or None
        group.add_argument(
            "--" + option.name.replace("_", "-"),
            type=_word_or_number if option.word_or_number else type(option.default),
            default=argparse.SUPPRESS,  # so that given() returns the given ones only
            choices=choices,
            metavar=None if choices else _metavar(option),
            help=option.description.replace("%", "%%") + shown_default,
        )
    parser.set_defaults(pipeline_defaults=added)


def given(arguments: argparse.Namespace) -> Dict[str, Any]:
    """Return the options that were given on the command line."""
    parsed = vars(arguments)
    return {name: parsed[name] for name in arguments.pipeline_defaults if name in parsed}


def files(arguments: argparse.Namespace) -> List[Path]:
    """Return the files that the pipeline reads: those of options, and the network.

    Raises:
        ModelError: the shipped network is missing.
    """
    options = given(arguments)
    named = [options.get(each.name) for each in declared.options(PipelineOptions) if _is_file(each)]
    return [*map(Path, filter(None, named)), *([] if options.get("model") else [default_model()])]


def chosen(arguments: argparse.Namespace, **changes: Any) -> PipelineOptions:
    """Return the pipeline's options: ``changes``, the given ones, and defaults, in this order.

    Raises:
        OptionError: a value is out of its bounds.
    """
    return PipelineOptions(**{**arguments.pipeline_defaults, **given(arguments), **changes})


def _metavar(option: Option) -> str:
    if option.word_or_number:
        return "|".join(["N", *option.choices])
    if _is_file(option):
        return "FILE"
    return "N" if isinstance(option.default, int) else option.name.rsplit("_", 1)[-1].upper()


def _is_file(option: Option) -> bool:
    return isinstance(option.default, str) and not option.choices


def _word_or_number(text: str) -> Union[str, int]:
    return int(text) if text.isdecimal() else text
