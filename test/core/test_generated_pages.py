"""CHANGELOG.rst and models/README.md are up to date and correct; all files name one version."""

from __future__ import annotations

import hashlib
import re
import runpy
from pathlib import Path

import pytest
from catkin_pkg.changelog import Changelog, populate_changelog_from_rst

ROOT = Path(__file__).resolve().parents[2]
GENERATOR = runpy.run_path(str(ROOT / "tools/pages.py"))


@pytest.mark.parametrize("name", ["CHANGELOG.rst", "models/README.md"])
def test_page_is_up_to_date(name: str) -> None:
    """After a change of its sources, ``make pages`` writes a page again."""
    assert (ROOT / name).read_text("utf-8") == GENERATOR["pages"]()[name]


@pytest.mark.filterwarnings("ignore:nodes.Node.traverse:DeprecationWarning")  # in catkin_pkg
def test_bloom_reads_the_changes_of_a_release() -> None:
    markdown = "# Changelog\n\n## [0.1.0] - 2026-12-01\n\n### Added\n\n- A [page](a.md): `b c`.\n"
    changelog = Changelog("esr_ros")
    populate_changelog_from_rst(changelog, GENERATOR["catkin_changelog"](markdown))
    ((version, date, entries),) = changelog.foreach_version()
    assert (version, date.year) == ("0.1.0", 2026)
    assert "A `page <a.md>`__: ``b c``." in changelog.rst
    assert "``b c``" in str(entries[0])


def test_table_has_the_digest_and_the_figures_of_each_file() -> None:
    table = (ROOT / "models/README.md").read_text("utf-8")
    for path in (ROOT / "models").glob("*.onnx"):
        (row,) = (line for line in table.splitlines() if f"[{path.name}]" in line)
        assert f"`{hashlib.sha256(path.read_bytes()).hexdigest()}`" in row
        assert f"{path.stat().st_size / 1e6:.1f} MB" in row
        card = path.with_suffix(".md").read_text("utf-8")
        for figure in re.findall(r"by mean probability \| (\S+)|macro F1 \| (\S+)", card):
            assert "".join(figure) in row


def test_all_files_name_one_version() -> None:
    files = ("package.xml", "setup.py", "CITATION.cff", "pixi.toml")
    pattern = r"^\s*<?version\W+(\d[\w.]*)"
    found = {re.search(pattern, (ROOT / name).read_text("utf-8"), re.M)[1] for name in files}
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert found == {re.search(r"^## \[(.+)\]", changes, re.M)[1]}
