"""Metadata of a network: its form, its input, and its calibration."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Dict, Tuple

from esr_core.emotions import LABELS
from esr_core.errors import ModelError, OptionError
from esr_core.options import check, option
from esr_core.perception.preprocessing import InputSpec

#: Version of the format; increased when older versions would misread it.
FORMAT = 1
#: Input of the published networks: colour faces, cropped to the boxes of AffectNet.
PUBLISHED_INPUT = InputSpec(size_px=96, grey=False, margin=1.0, detail_px=0)
#: An exit margin that no face reaches, so that all branches are evaluated.
NO_EARLY_EXIT = 2.0


@dataclass(frozen=True)
class ModelMetadata:
    """Metadata of a network, stored as JSON beside weights and under the key ``esr`` in ``.onnx``.

    ``record`` holds information that inference does not need: data, training config, accuracy.
    """

    name: str
    branches: int
    diversified: bool = False
    input: InputSpec = field(default_factory=InputSpec)
    labels: Tuple[str, ...] = LABELS
    temperature: float = option(1.0, "divides the logits of the branches", bounds=(0.01, 100))
    bias: Tuple[float, ...] = ()  # (8,) added to the logits after the division; empty: none
    affect: str = option(
        "learned",
        "learned: an output of each branch; derived: the mean of the emotions' valence and arousal",
        choices=("learned", "derived"),
    )
    #: See :mod:`esr_core.network.onnx_export`.
    lead: float = option(NO_EARLY_EXIT, "the exit margin", bounds=(0, NO_EARLY_EXIT))
    record: Dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not isinstance(self.diversified, bool):
            raise OptionError(
                "name must be a str and diversified a bool, but got "
                f"{self.name!r} and {self.diversified!r}"
            )
        if type(self.branches) is not int or self.branches < 1:
            raise OptionError(f"branches must be an int of 1 or more, but got {self.branches!r}")
        check(self)
        if len(self.bias) not in (0, len(LABELS)) or not all(map(math.isfinite, self.bias)):
            raise OptionError(f"bias must be empty or {len(LABELS)} numbers, but got {self.bias}")
        if self.labels != LABELS:
            # Results are named by LABELS, so another order would name emotions wrongly.
            raise OptionError(f"labels must be {LABELS}, but got {self.labels}")

    def to_json(self) -> str:
        """Return the text that :meth:`from_json` reads."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2)

    @classmethod
    def from_json(cls, text: str, where: str) -> ModelMetadata:
        """Parse the output of :meth:`to_json`, or raise ModelError, which names the file."""
        try:
            content = json.loads(text)
            if content.pop("format") != FORMAT:
                raise ValueError(f"written by another version; format must be {FORMAT}")
            unknown = sorted(content.keys() - {each.name for each in fields(cls)})
            if unknown:
                raise ValueError(f"unknown {', '.join(unknown)}")
            content["input"] = InputSpec(**content["input"])
            content["labels"] = tuple(content["labels"])
            content["bias"] = tuple(content.get("bias", ()))  # older files have none
            return cls(**content)
        except KeyError as error:
            raise ModelError(f"{where}: its metadata lacks {error}") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise ModelError(f"{where}: its metadata is not readable ({error})") from error
