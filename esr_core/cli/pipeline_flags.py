"""The options of the pipeline as flags of a command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from esr_core import options as declared
from esr_core.errors import OptionError
from esr_core.inference.onnx_model import default_model
from esr_core.options import Option
from esr_core.pipeline import PipelineOptions

#: Flags that are not called as their options: --branches of ``esr image`` is another thing.
_NAMES = {"branches": "ask"}
#: Where the parsed arguments remember which options are theirs.
_CHOSEN = "pipeline_options"


def add(
    parser: argparse.ArgumentParser,
    names: Optional[Iterable[str]] = None,
    defaults: Optional[Dict[str, Any]] = None,
) -> None:
    """Add a flag for each option of the pipeline: ``--min-score`` for ``min_score``.

    The flag of ``branches`` is ``--ask``. names: of these options only. defaults: in place of the
    pipeline's own.
    """
    group = parser.add_argument_group("how faces are found, followed and judged")
    flags = {}
    for option in declared.options(PipelineOptions):
        if names is None or option.name in names:
            name = _NAMES.get(option.name, option.name)
            default = (defaults or {}).get(option.name, option.default)
            flags[option.name] = name, default
            words = not option.word_or_number and option.choices
            group.add_argument(
                "--" + name.replace("_", "-"),
                dest=name,
                type=_word_or_number(option) if option.word_or_number else type(option.default),
                default=argparse.SUPPRESS,  # so that it is known what was given
                choices=words or None,
                metavar=None if words else _metavar(option),
                help=f"{option.description.replace('%', '%%')} (default: {_shown(default)})",
            )
    parser.set_defaults(**{_CHOSEN: flags})


def given(arguments: argparse.Namespace) -> Dict[str, Any]:
    """Return the options that stood on the command line."""
    flags: Dict[str, Tuple[str, Any]] = getattr(arguments, _CHOSEN)
    return {
        option: getattr(arguments, name)
        for option, (name, _) in flags.items()
        if hasattr(arguments, name)
    }


def files(arguments: argparse.Namespace) -> List[Path]:
    """Return the files that are read: those that options name, or the network that ships.

    Raises:
        ModelError: it is missing.
    """
    options = given(arguments)
    named = [options.get(each.name) for each in declared.options(PipelineOptions) if _is_file(each)]
    return [*map(Path, filter(None, named)), *([] if options.get("model") else [default_model()])]


def chosen(arguments: argparse.Namespace, **changes: Any) -> PipelineOptions:
    """Return the options that were given; those without a flag are ``changes``, or as they come.

    Raises:
        OptionError: a value out of its bounds.
    """
    flags: Dict[str, Tuple[str, Any]] = getattr(arguments, _CHOSEN)
    defaults = {option: default for option, (_, default) in flags.items()}
    return PipelineOptions(**{**defaults, **given(arguments), **changes})


def _metavar(option: Option) -> str:
    if option.word_or_number:
        return "|".join(["N", *option.choices])
    if _is_file(option):
        return "FILE"
    return "N" if isinstance(option.default, int) else option.name.rsplit("_", 1)[-1].upper()


def _is_file(option: Option) -> bool:
    return isinstance(option.default, str) and not option.choices


def _shown(default: Any) -> str:
    return repr(default) if default == "" else str(default)


def _word_or_number(option: Option) -> Callable[[str], Any]:
    """Return what turns a flag's text into one of the words, or into a number in the bounds."""

    def parse(text: str) -> Any:
        value = text if text in option.choices or not text.isdecimal() else int(text)
        try:
            option.check(value)
        except OptionError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return value

    return parse
