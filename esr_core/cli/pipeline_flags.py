"""The options of the pipeline as command-line flags."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional

from esr_core.cli.command import add_option, given
from esr_core.inference.onnx_model import default_model
from esr_core.options import Option, options
from esr_core.pipeline import PipelineOptions


def add(
    parser: argparse.ArgumentParser,
    names: Optional[Iterable[str]] = None,
    defaults: Optional[Dict[str, Any]] = None,
) -> None:
    """Add a flag for each option of the pipeline.

    names: restricts the options. defaults: replace defaults of the pipeline.
    """
    group = parser.add_argument_group("detection, tracking and inference")
    defaults = defaults or {}
    parser.set_defaults(pipeline_defaults=defaults)
    for option in options(PipelineOptions):
        if names is not None and option.name not in names:
            continue
        metavar = option.name.rsplit("_", 1)[-1].upper()
        if option.word_or_number:
            metavar = "|".join(["N", *option.choices])
        elif _is_file(option):
            metavar = "FILE"
        elif isinstance(option.default, int):
            metavar = "N"
        add_option(group, option, metavar, str(defaults.get(option.name, option.default)))


def files(arguments: argparse.Namespace) -> List[Path]:
    """Return the files that the pipeline reads: those of options, and the network.

    Raises:
        ModelError: the shipped network is missing.
    """
    values = given(arguments, PipelineOptions)
    named = [values.get(each.name) for each in options(PipelineOptions) if _is_file(each)]
    return [*map(Path, filter(None, named)), *([] if values.get("model") else [default_model()])]


def chosen(arguments: argparse.Namespace, **changes: Any) -> PipelineOptions:
    """Return the pipeline's options: ``changes``, the given ones, and defaults, in this order.

    Raises:
        OptionError: a value is out of its bounds.
    """
    values = {**arguments.pipeline_defaults, **given(arguments, PipelineOptions), **changes}
    return PipelineOptions(**values)


def _is_file(option: Option) -> bool:
    return isinstance(option.default, str) and not option.choices
