"""What a long-term study must not get wrong: stale rows, interrupted trainings, unequal rows, costs, memory."""

from __future__ import annotations

import csv
import json
import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from recsim_llm.agents.fitted_sources import load_source
from recsim_llm.agents.long_term.long_term_population import make_long_term
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.studies import run_study as module
from recsim_llm.experiments.studies.comparing import best_of
from recsim_llm.experiments.studies.run_study import run_study
from recsim_llm.experiments.studies.study import Study, StudyEntry
from recsim_llm.experiments.studies.study_measures import StudyShelf, genre_diversity, sessions_of
from recsim_llm.experiments.studies.study_report import write_report
from recsim_llm.experiments.studies.study_table import costs_of
from recsim_llm.experiments.training.train_world import TaskExits
from recsim_llm.policies import load_policy, make_policy
from recsim_llm.runs import StepBatch
from recsim_llm.types import Responses

SMALL = Study("small", (StudyEntry("random"), StudyEntry("ease", users=3)), users=6, seeds=1, pages=5)


def test_a_row_that_was_left_out_does_not_come_back_changed(tmp_path):
    run_study(SMALL, tmp_path, progress=False)
    run_study(replace(SMALL, entries=SMALL.entries[:1]), tmp_path, progress=False)
    with pytest.raises(RecordingError, match="ease"):
        run_study(replace(SMALL, entries=(StudyEntry("random"), StudyEntry("ease"))), tmp_path, progress=False)
    assert len(run_study(SMALL, tmp_path, progress=False)) == 2


def test_rows_that_share_a_folder_are_one_row(tmp_path):
    run_study(SMALL, tmp_path, progress=False)
    run = tmp_path / "runs" / "seed0" / "ease" / "policy.npz"
    other = tmp_path / "ease.npz"
    other.write_bytes(run.read_bytes())
    with pytest.raises(RecordingError, match="ease"):
        run_study(replace(SMALL, entries=(StudyEntry(str(other), users=3),)), tmp_path, progress=False)


@pytest.mark.slow
def test_a_training_that_was_stopped_at_its_end_is_evaluated_with_its_last_policy(tmp_path, monkeypatch):
    pytest.importorskip("tianshou")
    study = replace(SMALL, entries=(StudyEntry("dqn", steps=600),))
    train = module.train

    def stopped_after(config):
        train(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train", stopped_after)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path, progress=False)
    folder = tmp_path / "trained" / "seed0"
    assert not (folder / "dqn.npz").exists(), "what the training hands out was chosen on people of the evaluation"
    monkeypatch.setattr(module, "train", train)
    rows = run_study(study, tmp_path, progress=False)
    assert (folder / "dqn.npz").read_bytes() == (folder / "training" / "dqn" / "last.npz").read_bytes()
    _, markdown, *_ = write_report(study, rows, tmp_path)
    assert "Learning curves" in markdown.read_text()


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (StudyEntry("dqn"), "steps"),
        (StudyEntry("ease", steps=1000), "steps"),
        (StudyEntry("dqn", steps=10), "100"),
        (StudyEntry("dqn", steps=1000, learn=2), "one of"),
        (StudyEntry("bcq", collect="ease", learn=2), "one of"),
        (StudyEntry("bcq", collect="ease", explore=1.5), "explore"),
        (StudyEntry("bcq", collect="ease", sessions=0), "sessions"),
        (StudyEntry("ease", seeds=-1), "seeds"),
    ],
)
def test_a_row_that_cannot_work_is_refused_before_anything_runs(entry, sentence):
    with pytest.raises(ConfigError, match=sentence):
        replace(SMALL, entries=(entry,)).check()


def test_people_must_be_left_to_learn_from_before_anything_runs(tmp_path):
    for entry in (StudyEntry("dqn", steps=1000), StudyEntry("bcq", collect="ease"), StudyEntry("billp", learn=1)):
        study = replace(SMALL, entries=(StudyEntry("random"), entry), users=200)
        with pytest.raises(ConfigError, match="left"):
            run_study(study, tmp_path, progress=False)
    assert not (tmp_path / "runs").exists()


def test_a_row_of_few_people_is_not_the_best_by_luck():
    table = {
        "wide": {(0, u): 4.0 for u in range(100)},
        "low": {(0, u): 3.0 for u in range(100)},
        "narrow": {(0, u): 9.0 for u in range(3)},
    }
    assert best_of(table) == "wide"
    assert best_of({"narrow": table["narrow"]}) == "narrow"


def test_costs_add_up_and_shares_do_not():
    def run(proposals: float, embedding: float, used: float) -> SimpleNamespace:
        policy = {
            "proposals": proposals,
            "embedding": embedding,
            "replaced_share": embedding / proposals,
            "distinct_items": used,
        }
        spent = {"calls": 5, "cache_hits": 1, "prompt_tokens": 10, "output_tokens": 2}
        return SimpleNamespace(
            manifest=SimpleNamespace(summary={"seconds": 2.0, "policy_llm": spent, "policy": policy})
        )

    costs = costs_of([run(10, 8, 40), run(30, 12, 60)])
    assert (costs["calls"], costs["tokens"], costs["seconds"]) == (12, 24, 4.0)
    assert costs["replaced_share"] == pytest.approx(20 / 40), "of all proposals, not a sum of shares"
    assert costs["distinct_items"] == 50, "a seed: the same items may serve two"


def test_what_a_policy_cost_while_it_learned_is_counted(tmp_path):
    pytest.importorskip("rapidfuzz")
    entry = StudyEntry("billp?candidates=5", learn=3, users=4)
    study = replace(SMALL, entries=(StudyEntry("random"), entry), policy_llm="uniform", pages=3)
    rows = run_study(study, tmp_path, progress=False)
    assert rows[1].costs["learning_calls"] > 0
    assert rows[1].costs == run_study(study, tmp_path, progress=False)[1].costs, "the same when it is there already"


def test_both_conventions_and_the_costs_are_in_every_form_of_the_table(tmp_path):
    rows = run_study(SMALL, tmp_path, progress=False)
    for row in rows:
        counted, stayed = row.means["reward_counted"].value, row.means["reward_stayed"].value
        assert row.means["reward_each_counted"].value == pytest.approx(counted / row.means["length_counted"].value)
        assert row.means["reward_each"].value == pytest.approx(stayed / row.means["length_stayed"].value)
    with (tmp_path / "table.csv").open() as file:
        cells = list(csv.DictReader(file))
    assert [float(c["reward_each_counted"]) for c in cells] == [r.means["reward_each_counted"].value for r in rows]
    assert {"calls", "tokens", "seconds"} <= set(cells[0])
    pair = next(row.pair for row in rows if row.pair)
    stored = next(v["against_best"] for v in json.loads((tmp_path / "table.json").read_text()) if v["against_best"])
    assert stored["difference"] == pair.difference.value, "a number, not a rounded text"
    page = write_report(SMALL, rows, tmp_path)[0].read_text()
    for table in page.split("<table>")[1:]:
        lines = table.split("</table>")[0].split("<tr")[1:]
        assert len({line.count("<t" + ("h>" if i == 0 else "d>")) for i, line in enumerate(lines)}) == 1, "whole rows"


def test_genre_diversity_needs_no_matrix_of_the_catalogue():
    N, M = 5_000, 60
    rng = np.random.default_rng(0)
    shelf = StudyShelf(np.zeros(N, dtype=np.int64), 1, rng.random((N, 20)) < 0.2, np.zeros((N, 2)))
    last = np.arange(M) % 10 == 9
    steps = StepBatch(
        session=np.arange(M) // 10, user=np.arange(M) // 10, page=np.arange(M) % 10,
        items=rng.integers(0, N, (M, 1)), watch=np.ones((M, 1)), rating_probs=np.full((M, 1, 5), 0.2),
        watched=np.ones((M, 1), dtype=bool), ratings=np.ones((M, 1)), leave=np.zeros(M), left=last,
        truncated=np.zeros(M, dtype=bool), reward=np.ones(M), thoughts=(),
    )  # fmt: skip
    tracemalloc.start()
    genre_diversity(sessions_of(steps), shelf)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < N * N, "bytes; an N by N matrix of numbers has eight times as many"


@pytest.mark.slow
def test_dorl_with_the_exits_of_the_task_has_two_rows(tmp_path):
    """Rows are named by their exit rule, both are recorded, and a policy's file says which it was."""
    pytest.importorskip("tianshou")
    few = "steps=100&num_envs=10&ensemble=1"
    rows = (StudyEntry(f"dorl?exit=learned&{few}"), StudyEntry(f"dorl?exit=task&{few}"))
    table = run_study(replace(SMALL, entries=rows), tmp_path, progress=False)
    assert [row.policy.split(",")[1] for row in table] == ["exit=learned", "exit=task"]
    kept = [load_policy(path) for path in sorted((tmp_path / "runs" / "seed0").glob("*/policy.npz"))]
    assert [policy.trained.exit for policy in kept] == ["learned", "task"]
    assert not np.array_equal(kept[0].fitted["net.main.bias"], kept[1].fitted["net.main.bias"])


def test_the_exits_of_the_task_need_a_task():
    for rule in ({}, {"rounds": 2}):
        with pytest.raises(ConfigError, match=r"'dorl\?exit=task': exit=task trains .* --quit window"):
            SimulationConfig(policies=("dorl?exit=task",), **rule).check()
    SimulationConfig(policies=("dorl?exit=task",), quit="window").check()
    SimulationConfig(policies=("dorl",)).check()
    data, split = load_source("synthetic")
    with pytest.raises(ConfigError, match="exit=task"):
        make_policy("dorl", split.train, data.catalogue, 1, exit="task")
    with pytest.raises(ConfigError, match=r"exit must be one of learned, task, not 'true'"):
        make_policy("dorl", split.train, data.catalogue, 1, exit="true")


@pytest.mark.parametrize(
    "rule", ["window", "window?nearest=0&repeats=1&low_reward=0", "window?window=1&likeness=raw&first_item=false"]
)
def test_imagined_people_leave_when_the_people_of_the_task_would(rule):
    """Twenty turns of 40 people, shown the same items and giving the same stars in both; whoever left begins anew."""
    home = make_long_term("synthetic", rule=rule)
    exits, people = TaskExits(home.users, 0), make_long_term("synthetic", rule=rule).users
    rng, users = np.random.default_rng(0), np.arange(40)
    exits.begin(np.ones(40, dtype=bool), users)
    people.reset(np.arange(40), users, users.astype(np.uint64))
    gone = 0
    for _ in range(20):
        items, stars = rng.integers(0, 60, 40), rng.integers(1, 6, 40).astype(np.float32)
        given = Responses(np.ones((40, 1), dtype=bool), stars[:, None].astype(float))
        expected = people.observe(np.arange(40), items[:, None], given) == 1.0
        left = exits.leave(items, stars)
        np.testing.assert_array_equal(left, expected)
        exits.begin(left, users)
        people.reset(np.flatnonzero(left), users[left], users[left].astype(np.uint64))
        gone += int(left.sum())
    assert 40 < gone < 800
