"""What a model file says about itself, so that nobody has to guess how to feed it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Dict, Tuple

from esr_core.emotions import LABELS
from esr_core.errors import ModelError, OptionError
from esr_core.perception.preprocessing import InputSpec

#: Raised when a newer version writes something that an older one would misread.
FORMAT = 1
#: Input of the published networks: colour faces, framed by the box of AffectNet's annotation.
PUBLISHED_INPUT = InputSpec(size_px=96, grey=False, margin=1.0, detail_px=0)
#: No probability leads another by so much, so that nothing is decided before the last branch.
NEVER = 2.0


@dataclass(frozen=True)
class ModelMetadata:
    """Written beside the weights as JSON, and into the ``.onnx`` under the key ``esr``.

    ``record`` holds what is good to know and not needed to run: data, recipe, accuracy.
    """

    name: str
    branches: int
    diversified: bool = False
    input: InputSpec = field(default_factory=InputSpec)
    labels: Tuple[str, ...] = LABELS
    #: The branches' logits are divided by it; see :mod:`esr_core.evaluation.calibration`.
    temperature: float = 1.0
    #: By how much the mean probability of a face's likeliest emotion must lead for no more branches
    #: to be asked about it; 2 never does. See :mod:`esr_core.network.early_exit`.
    lead: float = NEVER
    record: Dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not isinstance(self.diversified, bool):
            raise OptionError(
                "name must be a str and diversified a bool, but got "
                f"{self.name!r} and {self.diversified!r}"
            )
        if type(self.branches) is not int or self.branches < 1:
            raise OptionError(f"branches must be an int of 1 or more, but got {self.branches!r}")
        if not isinstance(self.temperature, (int, float)) or not 0.01 <= self.temperature <= 100:
            raise OptionError(
                f"temperature must be a number from 0.01 to 100, but got {self.temperature!r}"
            )
        if not isinstance(self.lead, (int, float)) or not 0 <= self.lead <= NEVER:
            raise OptionError(f"lead must be a number from 0 to {NEVER:g}, but got {self.lead!r}")
        if self.labels != LABELS:
            # Results are named by LABELS, so another order would give emotions wrong names.
            raise OptionError(f"labels must be {LABELS}, but got {self.labels}")

    def with_branches(self, branches: int) -> ModelMetadata:
        """The same for an ensemble of only the first ``branches`` branches, name included.

        Raises:
            ModelError: there are not so many.
        """
        if branches > self.branches:
            raise ModelError(f"{self.name} has {self.branches} branches, not {branches}")
        if branches == self.branches:
            return self
        name = self.name.replace(f"-{self.branches}", f"-{branches}", 1)
        return replace(self, name=name, branches=branches)

    def to_json(self) -> str:
        """Return it as the text that an .onnx file carries."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2)

    @classmethod
    def from_json(cls, text: str, where: str) -> ModelMetadata:
        """Parse what :meth:`to_json` wrote; ``where`` names the file in errors.

        Raises:
            ModelError: not JSON, another format, or a field that is unknown or out of range.
        """
        try:
            content = json.loads(text)
            if content.pop("format") != FORMAT:
                raise ValueError(f"written by another version; format must be {FORMAT}")
            known = {f.name for f in fields(cls)}
            unknown = sorted(set(content) - known)
            if unknown:
                raise ValueError(f"unknown {', '.join(unknown)}")
            content["input"] = InputSpec(**content["input"])
            content["labels"] = tuple(content["labels"])
            return cls(**content)
        except KeyError as error:
            raise ModelError(f"{where}: its metadata lacks {error}") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise ModelError(f"{where}: its metadata is not readable ({error})") from error
