"""Whatever is public says what it is for."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Iterator

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for name in ("esr_core", "esr_ros") for path in (ROOT / name).rglob("*.py"))
KINDS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def silent(tree: ast.Module | ast.ClassDef, within: str = "") -> Iterator[str]:
    """The public functions, classes and methods without a docstring."""
    for node in tree.body:
        if isinstance(node, KINDS) and not node.name.startswith("_"):
            name = f"{within}{node.name}"
            if ast.get_docstring(node) is None:
                yield f"{name} in line {node.lineno}"
            if isinstance(node, ast.ClassDef):
                yield from silent(node, f"{name}.")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_everything_public_has_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert list(silent(tree)) == []


def test_a_missing_one_is_found() -> None:
    text = "class A:\n  'It is.'\n  def b(self): ...\n  def _c(self): ...\ndef d(): 'Does.'\n"
    assert list(silent(ast.parse(text))) == ["A.b in line 3"]
