"""Links, paths, names and flags in the pages exist."""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path
from typing import Iterator

import pytest

from esr_core.cli import parser

ROOT = Path(__file__).resolve().parents[2]
PAGE_FOLDERS = (".", "docs", "esr_core", "interfaces", "models")
PAGES = sorted(path for folder in PAGE_FOLDERS for path in (ROOT / folder).glob("*.md"))
FOLDERS = sorted(path.name for path in ROOT.iterdir() if path.is_dir())
#: Flags in the pages that are of other programs.
FOREIGN_FLAGS = {"--build-arg", "--ipc", "--ros-args"}
#: Commands of ``esr`` in code blocks and in backticks; a line such as ``esr image: ...`` is output.
COMMANDS = re.compile(r"^    (?:esr|.*-m esr_core\.cli) (\w+(?: .*)?)$|`esr ([^`]+)`", re.M)


def anchors(page: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path: Path, page: str) -> Iterator[str]:
    """Yield the relative links whose file or heading does not exist."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        if not linked.exists() or (anchor and anchor not in anchors(linked.read_text("utf-8"))):
            yield target


def missing_paths(page: str) -> Iterator[str]:
    """Yield the paths in backticks, below a folder of this repository, that do not exist."""
    for path in re.findall(r"`([\w.-]+/[\w./-]*)`", page):
        if path.startswith("esr_ros/") and (ROOT / "msg" / f"{Path(path).name}.msg").exists():
            continue  # a type
        if path.split("/")[0] in FOLDERS and not (ROOT / path).exists():
            yield path


def missing_names(page: str) -> Iterator[str]:
    """Yield the names after a module, as in `module.py`: `name`, `Class.method`, not in it."""
    for module, names in re.findall(r"`([\w/]+\.py)`: ((?:`[\w.]+`(?:, )?)+)", page):
        defined = set(definitions(ROOT / module)) if (ROOT / module).exists() else set()
        for name in re.findall(r"`([\w.]+)`", names):
            if name not in defined:
                yield f"{module}: {name}"


def definitions(path: Path) -> Iterator[str]:
    """Yield the names of a module, those that it imports included, and of its classes' members."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies = [("", tree.body)]
    bodies += [(f"{n.name}.", n.body) for n in tree.body if isinstance(n, ast.ClassDef)]
    for prefix, body in bodies:
        for node in body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                yield f"{prefix}{node.name}"
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                yield from (alias.asname or alias.name for alias in node.names)
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                yield from (f"{prefix}{t.id}" for t in targets if isinstance(t, ast.Name))


def flags() -> dict[str, set[str]]:
    """Return the flags of each command of ``esr``."""
    (commands,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return {name: set(each._option_string_actions) for name, each in commands.choices.items()}


def unknown_flags(page: str, known: dict[str, set[str]]) -> Iterator[str]:
    """Yield the commands and flags of ``esr`` in code that do not exist."""
    for line in COMMANDS.findall(page):
        command, *rest = (line[0] or line[1]).split("#")[0].split()
        if command not in known:
            yield f"esr {command}"
            continue
        for flag in (word for word in rest if re.match(r"--?[a-z]", word)):
            if flag not in known[command]:
                yield f"esr {command} {flag}"
    every = set().union(FOREIGN_FLAGS, *known.values())
    for path in (ROOT / "esr_ros").rglob("*.py"):
        every.update(re.findall(r'"(--[a-z0-9-]+)"', path.read_text(encoding="utf-8")))
    yield from (flag for flag in re.findall(r"`(--[a-z0-9-]+)[ `]", page) if flag not in every)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_page_names_what_exists(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    found = [*broken_links(path, page), *missing_paths(page), *missing_names(page)]
    if path.name != "CHANGELOG.md":  # which names former flags
        found += unknown_flags(page, flags())
    assert found == []


def test_errors_are_found() -> None:
    page = "[a](b.md), [c](#d), [e](README.md#f), `docs/g.md`, `esr image --h`, `--i 1`, `esr j`\n"
    page += "`esr_core/errors.py`: `EsrError`, `k`\n"
    assert list(broken_links(ROOT / "README.md", page)) == ["b.md", "#d", "README.md#f"]
    assert list(missing_paths(page)) == ["docs/g.md"]
    assert list(missing_names(page)) == ["esr_core/errors.py: k"]
    assert list(unknown_flags(page, flags())) == ["esr image --h", "esr j", "--i"]


def test_headings_become_anchors() -> None:
    assert anchors("# A `b-c`, d\n## What it is?\n") == {"a-b-c-d", "what-it-is"}
