"""The staging of an output: a folder beside its place, with a resume log, until it is complete."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, Set

from esr_core.errors import OptionError
from esr_ros.annotation.resume_log import ResumeLog, difference, is_resume_log
from esr_ros.bags import metadata
from esr_ros.bags.writer import BagWriteError

#: In the staging folder: the resume log, and the output that is being replaced.
_LOG, _OLD = "journal", "old"


class OutputFolder:
    """Makes ``output``, a folder, from what ``description`` lists."""

    def __init__(self, output: Path, source: Path, description: Dict[str, Any]) -> None:
        """Raises OptionError if the output would overlap with ``source``, the bag that is read."""
        self.output = output.resolve()
        source = source.resolve()
        self._description = description
        self._overwrites = False
        self._staging = self.output.parent / f"{self.output.name}.part"
        self.bag = self._staging / self.output.name
        for place in (self.output, self._staging):
            if place in source.parents or source in (place, *place.parents):
                raise OptionError(
                    f"{output} cannot be the output: {place} would lie over {source} or inside it"
                )

    def is_needed(self, overwrite: bool, resume: bool) -> bool:
        """Return False if ``resume`` is set and the output of the same description is complete.

        Raises OptionError if an output, complete or not, is in the way and no flag allows for it.
        """
        if self._staging.exists() and not self._is_own_staging():
            raise OptionError(f"{self._staging} is in the way; remove it, or name another --output")
        if not self.output.exists() and (self._staging / _OLD).exists():
            os.rename(self._staging / _OLD, self.output)  # the run that replaced it was killed
        self._overwrites = overwrite
        before = self._note_of_output()
        if self.output.exists() and not overwrite:
            if not resume:
                raise OptionError(
                    f"--output: {self.output} already exists; add --overwrite, or name another"
                )
            if before != self._description:
                raise OptionError(
                    f"{self.output} was made with another {difference(before, self._description)}; "
                    "give --overwrite, or another --output"
                )
            if not _files(self.output) <= set(os.listdir(self.output)):
                raise OptionError(f"{self.output} lacks files; give --overwrite to make it again")
            return False
        if self._staging.exists() and not (overwrite or resume):
            raise OptionError(
                f"{self._staging} is left of an earlier run; continue with --resume, or start over "
                "with --overwrite"
            )
        return True

    def _note_of_output(self) -> Any:
        """Return the description of an existing output; None if there is none."""
        if not self.output.exists():
            return None
        before = metadata.note(self.output)
        if before is None:
            raise OptionError(f"{self.output} exists and is not of this command; name another")
        foreign = sorted(set(os.listdir(self.output)) - _files(self.output))
        if foreign and self._overwrites:
            raise OptionError(
                f"{self.output} would be replaced, and {', '.join(foreign)} in it lost; move "
                "that away, or name another --output"
            )
        return before

    def _is_own_staging(self) -> bool:
        """Return whether the staging folder was left by a killed run of this command."""
        if not self._staging.is_dir():
            return False
        left = set(os.listdir(self._staging))
        is_known = left <= {_LOG, self.output.name, _OLD}
        if left == {_OLD}:  # it was killed while it removed the output that it had replaced
            return metadata.note(self._staging / _OLD) is not None
        return not left or (is_known and is_resume_log(self._staging / _LOG))

    @contextmanager
    def opened(self, restart: bool = False) -> Iterator[ResumeLog]:
        """Open the resume log; after an error only the log is left, unless it is empty."""
        was_there = self._staging.exists()
        try:
            self._staging.mkdir(parents=True, exist_ok=True)
            log = ResumeLog(self._staging / _LOG, self._description, restart)
        except OSError as error:
            if not was_there:
                shutil.rmtree(self._staging, ignore_errors=True)
            raise BagWriteError(f"{self.output}: cannot be written ({error})") from error
        try:
            shutil.rmtree(self.bag, ignore_errors=True)  # of a killed run
            if self.output.exists():  # so was one that had replaced it
                shutil.rmtree(self._staging / _OLD, ignore_errors=True)
            yield log
        except BaseException as error:
            shutil.rmtree(self.bag, ignore_errors=True)
            if log.is_empty:
                shutil.rmtree(self._staging, ignore_errors=True)
            if isinstance(error, (OSError, BagWriteError)):
                hint = "" if log.is_empty else "; the same command with --resume continues"
                raise BagWriteError(f"{self.output}: cannot be written ({error}){hint}") from error
            raise
        finally:
            log.close()

    def install(self) -> None:
        """Move the complete bag to its place; OptionError if another one appeared there."""
        if self._note_of_output() is not None:
            if not self._overwrites:
                raise OptionError(f"{self.output} was made meanwhile; name another --output")
            os.rename(self.output, self._staging / _OLD)  # removed below
        os.rename(self.bag, self.output)
        # The log is last, since it tells that the folder is this command's.
        shutil.rmtree(self._staging / _OLD, ignore_errors=True)
        shutil.rmtree(self._staging, ignore_errors=True)


def _files(bag: Path) -> Set[str]:
    content = metadata.read(bag)
    return {metadata.NAME, *content.files} if content else set()
