"""Recorded simulations: resumed after kill -9 byte for byte, replayed without a model, the same whatever the batch."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsim_llm.agents.long_term.long_term_population import rule_line
from recsim_llm.agents.population import make_population
from recsim_llm.errors import ConfigError, LLMError, RecordingError
from recsim_llm.experiments.simulation import recorders
from recsim_llm.experiments.simulation import recorders as module
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.cost.cost import dry_run
from recsim_llm.experiments.simulation.cost.cost_report import cost_report
from recsim_llm.experiments.simulation.interview import doubt, interview, interview_prompt
from recsim_llm.experiments.simulation.replay import replay
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.runs import Run
from recsim_llm.testing.scripted import FunctionLLM, MisbehavingLLM, ScriptedLLM, hash_choice_llm

SMALL = SimulationConfig(policies=("random", "ease"), users=12, pages=4, page_size=3, batch_size=5)
AGENTS = replace(SMALL, user_model="llm", llm="hash", policies=("popularity",))


@pytest.fixture(autouse=True)
def _fake_backend(monkeypatch):
    monkeypatch.setattr(recorders, "open_backend", lambda *_: nullcontext(hash_choice_llm(0)))


def step_files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((folder / "steps").iterdir())}


def story(run: Run) -> dict[tuple[int, int], tuple]:
    steps = run.step_batch()
    rows = zip(steps.user, steps.page, steps.items, steps.watched, steps.ratings, steps.watch, steps.left, strict=True)
    return {(int(u), int(p)): (i.tolist(), w.tolist(), r.tolist(), q.tolist(), bool(e)) for u, p, i, w, r, q, e in rows}


@pytest.mark.parametrize("config", [SMALL, AGENTS], ids=["statistical", "llm"])
def test_same_config_same_run_whatever_the_batch(config, tmp_path):
    first = simulate(config, tmp_path / "a", progress=False)
    again = simulate(config, tmp_path / "b", progress=False)
    other_batch = simulate(replace(config, batch_size=100), tmp_path / "c", progress=False)
    other_seed = simulate(replace(config, seed=1), tmp_path / "d", progress=False)
    for a, b, c, d in zip(first, again, other_batch, other_seed, strict=True):
        assert a.trajectory_hash() == b.trajectory_hash()
        assert story(a) == story(c)
        assert a.trajectory_hash() != d.trajectory_hash()


def test_policies_meet_the_same_people_with_the_same_luck(tmp_path):
    random_run, ease = simulate(SMALL, tmp_path, progress=False)
    assert random_run.step_batch().user[:5].tolist() == ease.step_batch().user[:5].tolist()


@pytest.mark.parametrize("config", [SMALL, AGENTS], ids=["statistical", "llm"])
def test_replay_is_bit_for_bit_without_a_model(config, tmp_path):
    for run in simulate(config, tmp_path, progress=False):
        done = replay(run)
        assert done.steps == len(run.step_batch())
        assert done.trajectory_hash == run.trajectory_hash()
        assert (done.calls > 0) == (config is AGENTS)


def test_replay_notices_a_changed_step(tmp_path):
    (run,) = simulate(AGENTS, tmp_path, progress=False)
    parts = sorted((run.folder / "steps").iterdir())
    parts[0].write_bytes(parts[1].read_bytes())
    with pytest.raises(RecordingError, match="differs"):
        replay(Run(run.folder))


def test_interrupted_run_goes_on_and_asks_nothing_twice(tmp_path, monkeypatch):
    asked: list[int] = []
    inner = hash_choice_llm(0)

    class Failing:
        name, usage = inner.name, inner.usage

        def __init__(self, calls):
            self.calls = calls

        def generate(self, prompts):
            self.calls -= 1
            if self.calls < 0:
                raise LLMError("the server has gone")
            asked.append(len(prompts))
            return inner.generate(prompts)

    whole = simulate(AGENTS, tmp_path / "whole", progress=False)[0]
    needed = len(whole.calls())
    monkeypatch.setattr(recorders, "open_backend", lambda *_: nullcontext(Failing(5)))
    with pytest.raises(LLMError, match="has gone"):
        simulate(AGENTS, tmp_path / "broken", progress=False)
    assert Run(tmp_path / "broken" / "popularity").manifest.status == "interrupted"
    with pytest.raises(RecordingError, match="--resume"):
        simulate(AGENTS, tmp_path / "broken", progress=False)
    monkeypatch.setattr(recorders, "open_backend", lambda *_: nullcontext(Failing(10**6)))
    resumed = simulate(AGENTS, tmp_path / "broken", resume=True, progress=False)[0]
    assert step_files(resumed.folder) == step_files(whole.folder)
    assert sum(asked) == needed


def test_resume_with_another_config_is_refused(tmp_path):
    simulate(SMALL, tmp_path, progress=False)
    with pytest.raises(RecordingError, match="pages"):
        simulate(replace(SMALL, pages=2), tmp_path, resume=True, progress=False)


def test_resume_of_a_finished_run_changes_nothing(tmp_path):
    simulate(SMALL, tmp_path, progress=False)
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.rglob("*") if p.is_file()}
    simulate(SMALL, tmp_path, resume=True, progress=False)
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.rglob("*") if p.is_file()}


CHILD = """
import sys, time
from contextlib import nullcontext
from pathlib import Path
from recsim_llm.experiments.simulation import recorders
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.cost.cost import dry_run
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.testing.scripted import hash_choice_llm
from dataclasses import replace
inner = hash_choice_llm(0)
class Slow:
    name, usage = inner.name, inner.usage
    def generate(self, prompts):
        time.sleep(0.01)
        return inner.generate(prompts)
recorders.open_backend = lambda *_: nullcontext(Slow())
config = SimulationConfig(
    policies=("popularity",), users=12, pages=4, page_size=3, batch_size=2, user_model="llm", llm="hash")
print("ready", flush=True)
begun = (Path(sys.argv[1]) / "popularity").is_dir()
simulate(config, Path(sys.argv[1]), resume=begun, progress=False)
"""


def is_over(folder: Path, seconds: float) -> bool:
    """Start or resume the run, kill it after some seconds, see that no part was lost; True if it had ended by then."""

    def parts() -> int:
        return len(list((folder / "popularity" / "steps").glob("*.parquet")))

    with subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        before = parts()
        try:
            assert child.wait(timeout=seconds) == 0
            return True
        except subprocess.TimeoutExpired:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
    assert parts() >= before, "a finished part is never lost"
    return False


def test_resume_begins_nothing_and_names_what_is_near(tmp_path):
    simulate(SMALL, tmp_path / "paid", progress=False)
    with pytest.raises(RecordingError, match=r"--resume: there is no run of .* in .*payed\. Did you mean .*paid\?"):
        simulate(SMALL, tmp_path / "payed", resume=True, progress=False)
    assert not (tmp_path / "payed").exists()
    with pytest.raises(RecordingError, match="Without --resume a new one is begun"):
        simulate(SMALL, tmp_path, resume=True, progress=False)  # the folder above
    assert sorted(path.name for path in tmp_path.iterdir()) == ["paid"]


@pytest.mark.slow
def test_kill_9_at_random_moments_then_resume_is_byte_identical(tmp_path):
    config = replace(AGENTS, batch_size=2)
    whole = simulate(config, tmp_path / "whole", progress=False)[0]
    rng = random.Random(0)
    kills = rounds = 0
    while rounds < 4 or kills < 5:  # a quick machine ends whole runs between two kills
        folder = tmp_path / f"killed{rounds}"
        rounds += 1
        while not is_over(folder, rng.uniform(0.05, 1.2)):
            kills += 1
        run = Run(folder / "popularity")
        assert run.manifest.status == "finished"
        assert step_files(run.folder) == step_files(whole.folder)
        assert replay(run).trajectory_hash == whole.trajectory_hash()


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(tmp_path):
    command = [sys.executable, "-m", "recsim_llm", "simulate", "--users", "200", "--pages", "200", "--batch-size", "1"]
    child = subprocess.Popen(
        [*command, "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore Ctrl-C, and so would the child of a test that runs in one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("random/steps/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert "--resume" in out
    assert "Traceback" not in err
    assert Run(tmp_path / "random").manifest.status == "interrupted"


def test_misbehaving_model_is_shown_in_the_summary(tmp_path, monkeypatch):
    monkeypatch.setattr(
        module, "open_backend", lambda *_: nullcontext(MisbehavingLLM(hash_choice_llm(0), malformed=0.2))
    )
    (run,) = simulate(AGENTS, tmp_path, progress=False)
    answers = run.manifest.summary["answers"]
    assert answers["malformed"] > 0
    assert answers["reasked"] > 0
    assert replay(run).steps == len(run.step_batch())


def test_labels_that_a_server_does_not_return_are_counted_said_and_replayed(tmp_path, monkeypatch):
    def half_silent(prompt):
        said = hash_choice_llm(0).generate([prompt])[0]
        # A third of the questions: all labels are bounds; another third: the first label of each slot is one.
        kind = len(prompt.question) % 3
        step = (1, len(prompt.choices), 0)[kind] if prompt.choices else 0
        return said._replace(bounds=tuple(range(0, len(said.logprobs), step))) if step else said

    monkeypatch.setattr(recorders, "open_backend", lambda *_: nullcontext(FunctionLLM(half_silent)))
    (run,) = simulate(AGENTS, tmp_path, progress=False)
    answers = run.manifest.summary["answers"]
    assert 0.05 < answers["unseen"] / answers["label_reads"] < 1
    assert 0 < answers["malformed"] < answers["unseen"], "a label of several that is missing spoils no answer"
    assert 0 < answers["label_mass_seen"] < answers["label_reads"]
    told = cost_report([run])
    assert f"{answers['unseen']:,} with a label not among the server's alternatives" in told
    assert "take another model" in told
    assert replay(run).steps == len(run.step_batch())


def test_costs_are_those_of_each_run(tmp_path, monkeypatch):
    shared = hash_choice_llm(0)
    monkeypatch.setattr(recorders, "open_backend", lambda *_: nullcontext(shared))
    runs = simulate(replace(AGENTS, policies=("random", "popularity")), tmp_path, progress=False)
    for run in runs:
        assert run.manifest.summary["llm"]["calls"] == len(run.calls())


def test_dry_run_is_an_upper_bound(tmp_path):
    (run,) = simulate(AGENTS, tmp_path, progress=False)
    ((policy, calls, tokens, _),) = list(dry_run(AGENTS))
    assert policy == "popularity"
    assert len(run.calls()) <= calls <= 12 * 4 * 7
    assert tokens > calls * 100
    assert list(dry_run(SMALL)) == [("random", 0, 0, 0), ("ease", 0, 0, 0)]


def test_interview_answers_from_the_memory_of_then(tmp_path):
    (run,) = simulate(AGENTS, tmp_path, progress=False)
    steps = run.step_batch()
    session = int(steps.session[np.argmax(steps.page)])
    pages = int((steps.session == session).sum())
    raw = make_population("synthetic").dataset.people[int(run.session(session).user[0])].raw_id
    start = interview_prompt(run, raw, "Why?", after=0)
    end = interview_prompt(run, raw, "Why?")
    assert "Nothing yet" in start.context
    assert end.context.count("Page ") == pages
    assert "Why?" in end.question
    assert interview(run, raw, "Why?", FunctionLLM(lambda p: "Because.\n")) == "Because."
    told = f"{end.system}\n{end.context}\n{end.question}"
    assert doubt(told, "\n".join(end.context.splitlines()[:4])).startswith(
        "This is hardly an answer (repeats the prompt)"
    )
    assert doubt(told, "") != "" != doubt(told, "(3) (2) (5)")
    assert doubt(told, "Mostly because I had a free evening and nobody to talk to.") == ""
    with pytest.raises(ConfigError, match="Users of this run"):
        interview(run, "nobody", "Why?", ScriptedLLM([]))
    with pytest.raises(ConfigError, match=r"--after must be within 0\.\.\d+, not 99"):
        interview(run, raw, "Why?", ScriptedLLM([]), after=99)


def test_bad_configs_are_named():
    with pytest.raises(ConfigError, match="live-popularity"):
        SimulationConfig(policies=("soothsayer",)).check()
    with pytest.raises(ConfigError, match="1..200"):
        list(simulate(replace(SMALL, users=201), Path("never")))


def test_an_older_recording_has_the_options_of_its_time(tmp_path):
    (run,) = simulate(replace(SMALL, policies=("popularity",)), tmp_path, progress=False)
    manifest = json.loads((run.folder / "run.json").read_text())
    for later in ("quit", "policy_llm"):
        del manifest["config"][later]
    del manifest["policy_llm"]
    (run.folder / "run.json").write_text(json.dumps(manifest))
    assert replay(Run(run.folder)).steps > 0
    manifest["config"]["strange"] = 1
    (run.folder / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(RecordingError, match="strange"):
        replay(Run(run.folder))


def test_the_long_term_setting_is_recorded_and_replayed(tmp_path):
    rule = "window?ratings=expected"
    config = SimulationConfig(policies=("random", "oracle"), users=20, pages=6, page_size=1, quit=rule)
    runs = simulate(config, tmp_path, progress=False)
    random_, oracle = (run.step_batch() for run in runs)
    assert random_.left.any()
    assert not oracle.left.any()
    assert (oracle.watched == 1).all()
    for run in runs:
        replay(run)
    with pytest.raises(ConfigError, match="society"):
        replace(config, rounds=2).check()
    done = runs[1].manifest
    assert done.config["quit"] == rule_line(rule), "with every option, as defaults may change"
    assert done.summary["leaving"]["quit_rule"]["tolerance"] == "own"
    assert done.summary["leaving"]["habits"]["tolerance"]["people with their own"] == 0, "nobody has one in this world"


def test_a_rule_means_in_a_replay_what_it_meant_when_it_was_recorded(tmp_path):
    """Versions in which nobody had a tolerance of their own wrote "window" for what takes four options now."""
    then = "window?ratings=expected&tolerance=common&repetition=none"
    for name, rule in (("then", then), ("now", "window")):
        config = SimulationConfig(policies=("ease",), users=20, pages=6, page_size=1, quit=rule)
        (run,) = simulate(config, tmp_path / name, progress=False)
        manifest = json.loads((run.folder / "run.json").read_text())
        manifest["config"]["quit"] = "window"
        (run.folder / "run.json").write_text(json.dumps(manifest))
    assert replay(Run(tmp_path / "then" / "ease")).steps > 0
    with pytest.raises(RecordingError, match="differs"):
        replay(Run(tmp_path / "now" / "ease"))
