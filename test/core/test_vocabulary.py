"""One term for each thing, in docstrings, help texts, log lines, error texts and pages."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path
from typing import Iterator, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for name in ("esr_core", "esr_ros") for path in (ROOT / name).rglob("*.py"))
PAGE_FOLDERS = (".", "docs", "esr_core", "interfaces", "models")
PAGES = sorted(path for folder in PAGE_FOLDERS for path in (ROOT / folder).glob("*.md"))

#: Former names of things that have a standard term, see the glossary in CONTRIBUTING.md.
FORMER_TERMS = (
    *("specimens?", "contestants?", "entrants?", "anytime", "workshops?", "journals?", "fleets?"),
    *("salvaged?", "watchers?", "chronicles?", "sightings?", "films?", "painters?", "lens(?:es)?"),
)
#: Speech verbs, which are not used of data and programs, and words that are not technical English.
COLLOQUIAL = (
    *("told", "tells?", "telling", "says?", "said", "saying", "asks?", "asked", "asking"),
    *("hears?", "heard", "nobody", "somebody", "anew", r"so\s+many", r"as\s+it\s+is(?!\s*\w)"),
)
REFUSED = re.compile(rf"(?<![\w.-])(?:{'|'.join((*FORMER_TERMS, *COLLOQUIAL))})(?![\w-])", re.I)
#: The first word of a docstring that names no action and no thing.
VAGUE_BEGINNING = re.compile(r"\s*(?:What|Who|Where|How|Whether|Which|Of)\b")
#: Proper uses of a refused word; they are taken out of a text before it is checked.
ALLOWED = re.compile(
    r"``[^`]*``|`[^`]*`"  # code
    r"|\bcamera lens(?:es)?\b|\blens cap\b"
    r"|\bJournal of [A-Z]|\bWorkshops? on [A-Z]"  # in a citation
)


class Text(NamedTuple):
    """A piece of prose and the line on which it begins."""

    line: int
    text: str
    is_docstring: bool = False


def texts(tree: ast.Module) -> Iterator[Text]:
    """Yield the docstrings, and the string constants that consist of several words."""
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and ast.get_docstring(node) is not None
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if node in docstrings or re.search(r"\S\s+\S", node.value):
            yield Text(node.lineno, node.value, node in docstrings)


def refused(text: Text) -> Iterator[str]:
    """Yield ``line:word`` of each refused word of a text."""
    prose = ALLOWED.sub(lambda match: re.sub(r"\S", "_", match[0]), text.text)
    for match in REFUSED.finditer(prose):
        yield f"{text.line + prose.count(chr(10), 0, match.start())}:{match[0]}"
    if text.is_docstring and (beginning := VAGUE_BEGINNING.match(text.text)):
        yield f"{text.line}:{beginning[0].strip()} (begins a docstring)"


def findings(source: str) -> list[str]:
    """Return ``line:word`` of each refused word in the prose of a module."""
    found = (each for text in texts(ast.parse(source)) for each in refused(text))
    return sorted(found, key=lambda each: (int(each.split(":")[0]), each))


def page_findings(page: str) -> list[str]:
    """Return ``line:word`` of each refused word in a Markdown page, code blocks left out."""
    prose = re.sub(r"^```.*?^```|^(?: {4}|\t).*?$", _blank, page, flags=re.S | re.M)
    return list(refused(Text(1, prose)))


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"\S", " ", match[0])


def public_classes(trees: dict[str, ast.Module]) -> dict[str, list[str]]:
    """Return the files of each public class, by its name."""
    files = defaultdict(list)
    for path, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files[node.name].append(path)
    return files


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_module_uses_the_vocabulary(path: Path) -> None:
    found = findings(path.read_text(encoding="utf-8"))
    assert not found, _listed(path, found)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_page_uses_the_vocabulary(path: Path) -> None:
    found = page_findings(path.read_text(encoding="utf-8"))
    assert not found, _listed(path, found)


def test_no_two_public_classes_have_one_name() -> None:
    trees = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in MODULES}
    assert {n: files for n, files in public_classes(trees).items() if len(files) > 1} == {}


def _listed(path: Path, found: list[str]) -> str:
    return "\n" + "\n".join(f"{path.relative_to(ROOT).as_posix()}:{each}" for each in found)


SAMPLE = '''"""Where a network is."""

def f(told):
    """Return the mean.

    Nobody is
    asked; see ``said``. The camera lens is no
    lens.
    """
    raise ValueError(f"{told} is said to be so many", "told", 'kept "as\\nit is" in a journal')

class A:
    """Of a face: the box."""
'''


def test_a_refused_word_is_found() -> None:
    assert findings(SAMPLE) == [
        *("1:Where (begins a docstring)", "6:Nobody", "7:asked", "8:lens"),
        *("10:as\nit is", "10:said", "10:so many", "11:journal", "13:Of (begins a docstring)"),
    ]


def test_names_code_and_derived_words_are_allowed() -> None:
    text = "'Retold: `told`, journal_file, a-told-b, ResumeLog.said, JournalError, as it is now'"
    assert findings(text) == []


def test_a_refused_word_in_a_page_is_found() -> None:
    page = "# Title\n\n```sh\necho told\n```\n\n    esr said\n\nIt is told by `told`.\n"
    assert page_findings(page) == ["9:told"]


def test_a_class_name_in_two_modules_is_found() -> None:
    source = "class A: pass\nclass _B: pass"
    trees = {name: ast.parse(source) for name in ("one", "two")}
    assert public_classes(trees) == {"A": ["one", "two"]}
