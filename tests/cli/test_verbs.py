"""A command is one file: it is found, listed without being imported, and imported when it is asked for."""

from __future__ import annotations

import ast
import dataclasses
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import recsim_llm
from recsim_llm.cli.command_line import main
from recsim_llm.cli.verb_files import find_verbs

FOLDER = Path(recsim_llm.__file__).parent / "cli" / "verbs"
HEAVY = {"pandas", "scipy", "pyarrow", "pydantic", "torch", "recsim_llm.checked", "recsim_llm.experiments"}
IMPORTED = """
import json, sys
from recsim_llm.cli.command_line import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    print(json.dumps([stop.code, sorted(sys.modules)]))
"""


def imported_by(*words):
    """Exit code, and the modules that are in memory after a call in a process of its own."""
    done = subprocess.run([sys.executable, "-c", IMPORTED, *words], capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    return code, set(modules)


def test_every_file_is_a_command():
    files = [path for path in FOLDER.rglob("*.py") if not path.name.startswith("__")]
    assert {verb.path for verb in find_verbs().values()} == set(files)
    assert len(files) >= 16


@pytest.mark.parametrize("name", find_verbs())
def test_a_command_is_a_dataclass_and_a_function(name):
    verb = find_verbs()[name]
    module = import_module(verb.module)
    kind = verb.options()
    assert verb.help == (ast.get_docstring(ast.parse(verb.path.read_text(encoding="utf-8"))) or "").splitlines()[0]
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert kind.__module__ == module.__name__
    assert f"`recsim-llm {name}`" in kind.__doc__


def test_help_lists_every_command_with_its_help_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    out = capsys.readouterr().out
    for name, verb in find_verbs().items():
        assert any(line.split()[1:2] == [name] and verb.help in line for line in out.splitlines()), name


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), ([], 2), (["simulat"], 2)])
def test_no_command_is_imported_to_list_them(words, code):
    ended, modules = imported_by(*words)
    assert ended == code
    assert not {name for name in modules if name.startswith("recsim_llm.cli.verbs.")}
    assert not HEAVY & modules


def test_the_command_that_is_asked_for_is_imported_alone():
    ended, modules = imported_by("dashboard", "--help")
    assert ended == 0
    commands = {name for name in modules if name.endswith("_command")}
    assert commands == {"recsim_llm.cli.verbs.runs.dashboard_command"}
    assert not {"pandas", "torch", "recsim_llm.experiments"} & modules


def test_a_misspelt_option_is_looked_for_in_every_command(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit, match="2"):
        main(["simulate", "--polcy", "x"])
    said = capsys.readouterr().err
    assert "Perhaps you meant" in said
    assert "in recsim-llm simulate --help" in said
    assert "in recsim-llm train --help" in said
