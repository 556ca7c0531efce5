"""Where an output is made until it is whole: a folder beside its place, with a journal."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Dict, Iterator

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from esr_core.errors import OptionError
from esr_ros.bag_writer import NOTE, BagWriteError
from esr_ros.journal import Journal, difference


class Workshop:
    """Makes ``output``, a folder, from what ``about`` describes."""

    def __init__(self, output: Path, source: Path, about: Dict[str, Any]) -> None:
        """source: what it is made of.

        Raises:
            OptionError: the output would lie over the source, or in it, or cannot be a folder.
        """
        self.output = output.resolve()
        source = source.resolve()
        within = self.output in source.parents or source in (self.output, *self.output.parents)
        if within or not self.output.name:
            raise OptionError(
                f"{output} cannot be the output: it would lie over {source} or inside of it"
            )
        self._about = about
        self._folder = self.output.with_name(self.output.name + ".part")
        self.bag = self._folder / self.output.name

    def is_needed(self, overwrite: bool, resume: bool) -> bool:
        """Return False if the output is there, made from the same, and ``resume`` allows for it.

        Raises:
            OptionError: it is there, or half of it, and it was not said what to do then.
        """
        before = note(self.output)
        if self.output.exists() and before is None:
            raise OptionError(f"{self.output} exists and is not of this command; name another")
        if self._folder.exists() and not self._folder.is_dir():
            raise OptionError(f"{self._folder} is in the way; remove it, or name another --output")
        if self.output.exists() and not overwrite:
            if not resume:
                raise OptionError(f"{self.output} exists; give --overwrite, or another --output")
            if before != self._about:
                raise OptionError(
                    f"{self.output} was made with another {difference(before, self._about)}; give "
                    "--overwrite, or another --output"
                )
            return False
        if self._folder.exists() and not (overwrite or resume):
            raise OptionError(
                f"{self._folder} is there, of an earlier run; go on with --resume, or begin anew "
                "with --overwrite"
            )
        return True

    @contextmanager
    def opened(self, anew: bool = False) -> Iterator[Journal]:
        """Open the journal; after an error only that is left, if there is anything in it.

        Raises:
            JournalError: an earlier run was about something else, or goes on still.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        journal = Journal(self._folder / "journal", self._about, anew)
        try:
            shutil.rmtree(self.bag, ignore_errors=True)  # of a run that was killed
            yield journal
        except BaseException as error:
            shutil.rmtree(self.bag, ignore_errors=True)
            if journal.is_empty:
                self._remove()
            elif isinstance(error, (OSError, BagWriteError)):
                raise BagWriteError(
                    f"{self.output}: cannot be written ({error}); the same with --resume goes on"
                ) from error
            raise
        finally:
            journal.close()

    def install(self) -> None:
        """Put what is whole into its place."""
        if self.output.exists():
            # Into the folder that is removed below.
            old = self._folder / "old"
            os.rename(self.output, old)
        os.rename(self.bag, self.output)
        self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def note(bag: Path) -> Any:
    """Return what a bag of this package says it was made from; None if it is not one."""
    with suppress(OSError, YAMLError, KeyError, TypeError, ValueError):
        text = (bag / "metadata.yaml").read_text(encoding="utf-8")
        custom = YAML(typ="safe").load(text)["rosbag2_bagfile_information"]["custom_data"]
        return json.loads(custom[NOTE])
    return None
