"""Where an output is made until it is whole: a folder beside its place, with a journal."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Dict, Iterator, Set

from esr_core.errors import OptionError
from esr_ros.annotation.resume_log import ResumeLog, difference, is_journal
from esr_ros.bags import metadata
from esr_ros.bags.metadata import BagMetadataError
from esr_ros.bags.writer import NOTE, BagWriteError

_JOURNAL, _OLD = "journal", "old"


class OutputFolder:
    """Makes ``output``, a folder, from what ``about`` describes."""

    def __init__(self, output: Path, source: Path, about: Dict[str, Any]) -> None:
        """source: what it is made of.

        Raises:
            OptionError: the output would lie over the source, or in it, or cannot be a folder.
        """
        self.output = output.resolve()
        source = source.resolve()
        if not self.output.name:
            raise OptionError(f"{output} cannot be the output")
        self._about = about
        self._overwrites = False
        self._folder = self.output.with_name(self.output.name + ".part")
        self.bag = self._folder / self.output.name
        for place in (self.output, self._folder):
            if place in source.parents or source in (place, *place.parents):
                raise OptionError(
                    f"{output} cannot be the output: {place} would lie over {source} or inside it"
                )

    def is_needed(self, overwrite: bool, resume: bool) -> bool:
        """Return False if the output is there, made from the same, and ``resume`` allows for it.

        Raises:
            OptionError: it is there, or half of it, and it was not said what to do then.
        """
        if self._folder.exists() and not self._is_of_a_run():
            raise OptionError(f"{self._folder} is in the way; remove it, or name another --output")
        if not self.output.exists() and (self._folder / _OLD).exists():
            os.rename(self._folder / _OLD, self.output)  # the run that replaced it was killed
        self._overwrites = overwrite
        before = self._before()
        if self.output.exists() and not overwrite:
            if not resume:
                raise OptionError(f"{self.output} exists; give --overwrite, or another --output")
            if before != self._about:
                raise OptionError(
                    f"{self.output} was made with another {difference(before, self._about)}; give "
                    "--overwrite, or another --output"
                )
            if not _files(self.output) <= set(os.listdir(self.output)):
                raise OptionError(f"{self.output} lacks files; give --overwrite to make it anew")
            return False
        if self._folder.exists() and not (overwrite or resume):
            raise OptionError(
                f"{self._folder} is there, of an earlier run; go on with --resume, or begin anew "
                "with --overwrite"
            )
        return True

    def _before(self) -> Any:
        """Return what an output that is there was made from; None: there is none.

        Raises:
            OptionError: it is not of this command, or with it other files would be replaced.
        """
        if not self.output.exists():
            return None
        before = note(self.output)
        if before is None:
            raise OptionError(f"{self.output} exists and is not of this command; name another")
        strangers = sorted(set(os.listdir(self.output)) - _files(self.output))
        if strangers and self._overwrites:
            raise OptionError(
                f"{self.output} would be replaced, and {', '.join(strangers)} in it lost; move "
                "that away, or name another --output"
            )
        return before

    def _is_of_a_run(self) -> bool:
        """Whether the folder is what a run that was killed has left."""
        if not self._folder.is_dir():
            return False
        left = set(os.listdir(self._folder))
        ours = left <= {_JOURNAL, self.output.name, _OLD}
        return not left or (ours and is_journal(self._folder / _JOURNAL))

    @contextmanager
    def opened(self, anew: bool = False) -> Iterator[ResumeLog]:
        """Open the journal; after an error only that is left, if there is anything in it.

        Raises:
            JournalError: an earlier run was about something else, or goes on still.
        """
        was_there = self._folder.exists()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            journal = ResumeLog(self._folder / _JOURNAL, self._about, anew)
        except OSError as error:
            if not was_there:
                self._remove()
            raise BagWriteError(f"{self.output}: cannot be written ({error})") from error
        try:
            shutil.rmtree(self.bag, ignore_errors=True)  # of a run that was killed
            yield journal
        except BaseException as error:
            shutil.rmtree(self.bag, ignore_errors=True)
            if journal.is_empty:
                self._remove()
            if isinstance(error, (OSError, BagWriteError)):
                hint = "" if journal.is_empty else "; the same with --resume goes on"
                raise BagWriteError(f"{self.output}: cannot be written ({error}){hint}") from error
            raise
        finally:
            journal.close()

    def install(self) -> None:
        """Put what is whole into its place.

        Raises:
            OptionError: something else came there meanwhile; the work goes on with ``resume``.
        """
        if self._before() is not None:
            if not self._overwrites:
                raise OptionError(f"{self.output} was made meanwhile; name another --output")
            # Into the folder that is removed below.
            os.rename(self.output, self._folder / _OLD)
        os.rename(self.bag, self.output)
        self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def note(bag: Path) -> Any:
    """Return what a bag of this package says it was made from; None if it is not one."""
    with suppress(OSError, BagMetadataError, LookupError, TypeError, ValueError):
        found = metadata.read(bag)
        return json.loads(found.custom[NOTE]) if found else None
    return None


def _files(bag: Path) -> Set[str]:
    """Return the names of a bag's files."""
    found = metadata.read(bag)
    return {metadata.NAME, *found.files} if found else set()
