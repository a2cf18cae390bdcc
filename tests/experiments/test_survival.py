"""Whatever happens to a run on the way, `--resume` ends it with the same trajectory, and no recorded step is lost."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from recsim_llm.errors import LLMError, RecordingError, SetAsideWarning
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.replay import replay
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.language.wrappers import cache
from recsim_llm.runs import Run, read_catalogue
from recsim_llm.runs.recorded_context import load_people

CONFIG = SimulationConfig(
    user_model="agent4rec:genres",
    llm="python:recsim_llm.testing.scripted:hash_choice_llm",
    policies=("popularity",),
    users=10,
    pages=3,
    page_size=3,
    batch_size=4,
)
SOCIETY = replace(CONFIG, rounds=4, batch_size=256)
CHILD = """
import os, signal, sys
from pathlib import Path
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.simulate import simulate
folder, rounds, last, place = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
done = 0
def watched(name):
    real = getattr(os, name)
    def call(*args, **options):
        global done
        done += 1
        if done == last and place == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if done == last and name == "write":  # half of a file is there
            real(args[0], memoryview(args[1])[: len(args[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **options)
        if done == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call
for name in ("write", "fsync", "replace"):
    setattr(os, name, watched(name))
simulate(
    SimulationConfig(
        user_model="agent4rec:genres", llm="python:recsim_llm.testing.scripted:hash_choice_llm",
        policies=("popularity",), users=10, pages=3, page_size=3, rounds=rounds,
        batch_size=256 if rounds else 4),
    folder, progress=False)
print(done)
"""


@pytest.fixture(autouse=True)
def _at_home(monkeypatch, tmp_path):
    monkeypatch.setenv("RECSIM_LLM_HOME", str(tmp_path / "home"))


def parts(run: Path) -> dict[str, bytes]:
    """Finished files of steps and diary: what must never change."""
    return {
        str(p.relative_to(run)): p.read_bytes()
        for kind in ("steps", "events")
        for p in run.glob(f"{kind}/part-*.parquet")
    }


def undisturbed(config: SimulationConfig, folder: Path) -> Run:
    return simulate(config, folder, progress=False)[0]


def child(folder: Path, rounds: int, last: int, place: str = "after") -> subprocess.CompletedProcess[str]:
    """A run in a process of its own, which kills itself at its `last`-th write, fsync or rename."""
    command = [sys.executable, "-c", CHILD, str(folder), str(rounds), str(last), place]
    env = os.environ | {"RECSIM_LLM_HOME": str(folder / "home")}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize("config", [CONFIG, SOCIETY], ids=["sessions", "society"])
def test_kill_9_at_random_writes(config, tmp_path, monkeypatch):
    """Ten points each: before or in the middle of a write, before or behind an fsync or a rename."""
    whole = undisturbed(config, tmp_path / "whole")
    total = int(child(tmp_path / "counted", config.rounds, -1).stdout)
    assert total > 40
    luck = random.Random(config.rounds)
    for point in sorted(luck.sample(range(1, total), 10)):
        folder = tmp_path / f"killed{point}"
        killed = child(folder, config.rounds, point, luck.choice(["before", "after"]))
        assert killed.returncode == -signal.SIGKILL
        run = folder / "popularity"
        before = parts(run)
        # Answers of the undisturbed run must not help.
        monkeypatch.setenv("RECSIM_LLM_HOME", str(folder / "home"))
        (resumed,) = simulate(config, folder, resume=True, progress=False)
        after = parts(run)
        assert {name: after[name] for name in before} == before, "no recorded step is lost or changed"
        assert after == parts(whole.folder)
        assert resumed.trajectory_hash() == whole.trajectory_hash()
        assert not list(run.rglob("*.tmp")), "nothing half-written is left"
    assert replay(resumed).trajectory_hash == whole.trajectory_hash()


@pytest.mark.parametrize("number", [2, 6, 9, 12])
def test_a_full_disk_stops_with_a_sentence_and_loses_nothing(number, tmp_path, monkeypatch):
    whole = undisturbed(CONFIG, tmp_path / "whole")
    real, written = os.write, 0

    def write(descriptor, data):
        nonlocal written
        written += 1
        if written >= number:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(RecordingError, match=r"the disk is full.*--resume"):
            simulate(CONFIG, tmp_path / "full", progress=False)
    (run,) = simulate(CONFIG, tmp_path / "full", resume=True, progress=False)
    assert run.trajectory_hash() == whole.trajectory_hash()


def test_a_full_disk_under_the_cache_loses_nothing(tmp_path, monkeypatch):
    whole = undisturbed(CONFIG, tmp_path / "whole")
    for file in (tmp_path / "home").iterdir():
        file.unlink()
    real = cache._open

    def small(path):
        db = real(path)
        db.execute("PRAGMA max_page_count=3")
        return db

    with monkeypatch.context() as patch:
        patch.setattr(cache, "_open", small)
        with pytest.raises(LLMError, match="space left"):
            simulate(replace(CONFIG, batch_size=2), tmp_path / "full", progress=False)
    (run,) = simulate(replace(CONFIG, batch_size=2), tmp_path / "full", resume=True, progress=False)
    assert run.step_batch().in_order().digest() == whole.step_batch().in_order().digest()


@pytest.mark.parametrize("kind", ["steps", "calls"])
@pytest.mark.parametrize("damage", [lambda d: d[:-30], lambda d: b"", lambda d: bytes(reversed(d))])
def test_a_damaged_last_part_is_recorded_again(kind, damage, tmp_path, monkeypatch):
    whole = undisturbed(CONFIG, tmp_path / "whole")
    folder = tmp_path / "damaged"
    interrupted(folder, monkeypatch)
    last = max((folder / "popularity" / kind).glob("*.parquet"))
    last.write_bytes(damage(last.read_bytes()))
    (run,) = simulate(CONFIG, folder, resume=True, progress=False)
    assert run.trajectory_hash() == whole.trajectory_hash()
    assert list(run.folder.glob("*.corrupt"))


def contents(run: Path) -> dict[str, bytes]:
    """All that a run folder holds but its manifest (which has times), its lock, and what was set aside."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and path.name not in {"run.json", ".lock"} and path.suffix != ".corrupt"
    }


@pytest.mark.parametrize("kind", ["steps", "calls", "why", "asked", "memories"])
def test_a_finished_run_is_made_whole_again(kind, tmp_path):
    (run,) = simulate(CONFIG, tmp_path, progress=False)
    before = contents(run.folder)
    last = max((run.folder / kind).glob("*.parquet"))
    last.write_bytes(last.read_bytes()[:-30])
    (again,) = simulate(CONFIG, tmp_path, resume=True, progress=False)
    assert contents(again.folder) == before
    assert again.finished
    assert list(again.folder.glob(f"{kind}-*.corrupt"))


def test_a_finished_society_is_made_whole_again(tmp_path):
    (run,) = simulate(SOCIETY, tmp_path, progress=False)
    before = contents(run.folder)
    (run.folder / "events" / "part-000001.parquet").write_bytes(b"junk")
    (again,) = simulate(SOCIETY, tmp_path, resume=True, progress=False)
    assert contents(again.folder) == before


@pytest.mark.parametrize("name", ["people.json", "catalogue.parquet", "history.parquet", "policy.npz"])
def test_junk_beside_the_parts_is_named_and_written_again(name, tmp_path):
    (run,) = simulate(CONFIG, tmp_path, progress=False)
    before = contents(run.folder)
    path = run.folder / name
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1  # one bit: most of these files can still be read
    path.write_bytes(changed)
    with pytest.raises(RecordingError, match=rf"{name} is missing, or is not what the run wrote.*--resume"):
        replay(run)
    (again,) = simulate(CONFIG, tmp_path, resume=True, progress=False)
    assert contents(again.folder) == before
    assert (run.folder / f"{name}.corrupt").read_bytes() == changed
    assert replay(again).trajectory_hash == run.trajectory_hash()


def test_readers_name_changed_people_and_titles(tmp_path):
    (run,) = simulate(CONFIG, tmp_path, progress=False)
    text = (run.folder / "people.json").read_text()
    (run.folder / "people.json").write_text(text.replace('"raw_id": "', '"raw_id": "9'))  # valid, and wrong
    with pytest.raises(RecordingError, match=r"people\.json.*is not what the run wrote"):
        load_people(run.folder)
    (run.folder / "catalogue.parquet").unlink()
    with pytest.raises(RecordingError, match=r"catalogue\.parquet is missing"):
        read_catalogue(run.folder)


@pytest.mark.parametrize("damage", ["", "{", '["a list"]', '{"format_version": 3', None])
def test_a_damaged_manifest_is_written_again_and_nothing_is_asked_twice(damage, tmp_path):
    (run,) = simulate(CONFIG, tmp_path, progress=False)
    before, config = contents(run.folder), run.manifest.config
    if damage is None:
        (run.folder / "run.json").unlink()
    else:
        (run.folder / "run.json").write_text(damage)
        with pytest.raises(RecordingError, match=r"run\.json is damaged.*--resume"):
            Run(run.folder)
    for file in (tmp_path / "home").iterdir():
        file.unlink()  # the cache must not help
    (again,) = simulate(CONFIG, tmp_path, resume=True, progress=False)
    assert contents(again.folder) == before
    assert (again.manifest.config, again.manifest.status) == (config, "finished")
    assert again.manifest.summary["llm"]["calls"] == 0


def test_a_damaged_manifest_does_not_let_another_simulation_in(tmp_path):
    (run,) = simulate(CONFIG, tmp_path, progress=False)
    before = contents(run.folder)
    (run.folder / "run.json").write_text("")
    with pytest.raises(RecordingError, match="differs from its recording"):
        simulate(replace(CONFIG, seed=1), tmp_path, resume=True, progress=False)
    steps = {name for name in before if name.startswith("steps/")}
    assert {name: contents(run.folder)[name] for name in steps} == {name: before[name] for name in steps}


def test_the_manifest_of_another_version_is_not_set_aside(tmp_path):
    (run,) = simulate(CONFIG, tmp_path, progress=False)
    path = run.folder / "run.json"
    path.write_text(path.read_text().replace('"format_version": 3', '"format_version": 2'))
    with pytest.raises(RecordingError, match="has format 2"):
        simulate(CONFIG, tmp_path, resume=True, progress=False)
    assert not list(run.folder.glob("*.corrupt"))


def interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch, after: int = 4) -> None:
    """A run that ends when its model fails for good."""
    from recsim_llm.language.wrappers import prefix_cache

    real: Callable = prefix_cache.PrefixMeter.generate
    asked = 0

    def generate(self, prompts):
        nonlocal asked
        asked += 1
        if asked > after:
            raise LLMError("The server is gone.")
        return real(self, prompts)

    for file in (folder.parent / "home").iterdir():
        file.unlink()  # or nothing would be asked
    with monkeypatch.context() as patch:
        patch.setattr(prefix_cache.PrefixMeter, "generate", generate)
        with pytest.raises(LLMError, match="gone"):
            simulate(CONFIG, folder, progress=False)


def test_a_cache_from_another_version_is_set_aside(tmp_path, monkeypatch):
    whole = undisturbed(CONFIG, tmp_path / "whole")
    folder = tmp_path / "interrupted"
    interrupted(folder, monkeypatch)
    monkeypatch.setattr(cache, "_VERSION", 99)
    with pytest.warns(SetAsideWarning, match=r"format 2.*reads format 99.*aside1"):
        (run,) = simulate(CONFIG, folder, resume=True, progress=False)
    assert run.trajectory_hash() == whole.trajectory_hash()
    assert (tmp_path / "home" / "answers.sqlite.aside1").exists()


def test_poison_disturbs_nobody_else(tmp_path, monkeypatch):
    """Prompts about one person are refused: everybody else's pages are those of a run without poison."""
    from recsim_llm.testing.scripted import FunctionLLM

    whole = undisturbed(CONFIG, tmp_path / "whole")
    marked = whole.calls()["context"][0].as_py()
    real = FunctionLLM.generate

    def generate(self, prompts):
        poisoned = [prompt.context == marked for prompt in prompts]
        answers = real(self, prompts)
        self.usage.refused += sum(poisoned)
        refused = type(answers[0])("", refused="too long for this model")
        return [refused if bad else answer for bad, answer in zip(poisoned, answers, strict=True)]

    for file in (tmp_path / "home").iterdir():
        file.unlink()
    monkeypatch.setattr(FunctionLLM, "generate", generate)
    (run,) = simulate(CONFIG, tmp_path / "poison", progress=False)
    summary = run.manifest.summary
    assert summary["llm"]["refused"] == summary["answers"]["refused"] == summary["answers"]["fallbacks"] > 0
    mine, theirs = (each.step_batch().in_order() for each in (run, whole))
    changed = {int(u) for u in set(theirs.user.tolist()) if rows(mine, u) != rows(theirs, u)}
    assert len(changed) == 1
    assert replay(run).steps == len(mine)


def rows(steps, user: int) -> list:
    at = steps.user == user
    return [steps.page[at].tolist(), steps.items[at].tolist(), steps.watch[at].tolist(), steps.left[at].tolist()]
