"""Every Python block of the README and of pages for users runs as it stands, and every command in them exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from recsim_llm.cli import command_line

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (README, *(ROOT / "docs" / name for name in ("society.md", "agents/README.md", "agents/agent4rec.md")))
pytestmark = pytest.mark.skipif(not README.exists(), reason="tests run outside the repository")


def blocks(language):
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES if page.exists())
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"))
@pytest.mark.filterwarnings("default")
def test_python_blocks_run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # runs are written below the folder we are in
    if "stable_baselines3" in code:
        pytest.importorskip("stable_baselines3")
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.slow
def test_the_page_on_python_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECSIM_LLM_HOME", str(tmp_path / "home"))
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(code, "python.md", "exec"), names)
    assert capsys.readouterr().out.startswith("Runs are in runs/synthetic-statistical-seed0.\n")
    assert repr(names["runs"]).replace(", Run(", ",\n Run(") in page


@pytest.mark.parametrize(
    "line", [line for b in blocks("bash") for line in b.splitlines() if line.startswith("recsim-llm")]
)
def test_commands_parse(line, monkeypatch):
    seen = []
    monkeypatch.setattr(command_line, "run", seen.append)
    command_line.main(shlex.split(line, comments=True)[1:])
    assert len(seen) == 1


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (README.parent / "Makefile").read_text(), flags=re.MULTILINE))
    named = {word for b in blocks("bash") for word in re.findall(r"^make ([a-z-]+)", b, flags=re.MULTILINE)}
    assert named
    assert named <= targets
