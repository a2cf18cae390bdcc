"""Rules of the package's shape, so that a reader finds a thing by its name (docs/architecture.md)."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import recsim_llm

PACKAGE = Path(recsim_llm.__file__).parent
MOST = 12
TWICE: set[str] = set()
"""File names that more than one folder may have."""


def modules() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if not path.name.startswith("__")]


def test_a_folder_has_at_most_twelve_modules():
    sizes = Counter(path.parent.relative_to(PACKAGE).as_posix() for path in modules())
    assert {folder: size for folder, size in sizes.items() if size > MOST} == {}


def test_file_names_tell_without_their_folder():
    names = Counter(path.name for path in modules())
    assert {name for name, count in names.items() if count > 1} <= TWICE


def test_class_names_tell_without_their_module():
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in modules()]
    names = Counter(node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert sum(names.values()) > 400
    assert {name for name, count in names.items() if count > 1} == set()


def test_every_folder_says_what_it_is():
    for folder in {path.parent for path in modules()}:
        text = (folder / "__init__.py").read_text(encoding="utf-8")
        assert text.startswith('"""'), folder
