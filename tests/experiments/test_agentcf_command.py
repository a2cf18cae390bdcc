"""`recsim-llm agentcf learn` and `rank`: they run, go on, say what to do next, and print what the data give away."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsim_llm.agents.llm.agentcf.agentcf_memories import AgentCFMemories
from recsim_llm.cli.command_line import main
from recsim_llm.cli.verbs.learning import agentcf_command
from recsim_llm.data import load_dataset
from recsim_llm.data.formats.agentcf_release import load_agentcf
from recsim_llm.data.formats.ranking_task import draw_task
from recsim_llm.errors import LLMError
from recsim_llm.experiments.candidate_ranking import RankingRow, ndcg, ranking_table, rivals, row_of, warning_of
from recsim_llm.testing.scripted import FunctionLLM, hash_choice_llm
from tests.data.test_agentcf_release import release

RELEASED = Path(__file__).parents[2].parent / "shared" / "data" / "agentcf"


@pytest.fixture(autouse=True)
def _fake_backend(monkeypatch):
    monkeypatch.setattr(agentcf_command, "open_backend", lambda *_: nullcontext(hash_choice_llm(0)))


@pytest.fixture
def few_rivals(monkeypatch):
    """Without the rows that take seconds to fit."""
    monkeypatch.setattr("recsim_llm.experiments.candidate_ranking.POLICIES", ("bm25",))


def test_ndcg_by_hand():
    scores = np.array([[2.0, 3.0, 1.0, 2.5], [0.0, 0.0, 0.0, 0.0]])
    assert ndcg(scores, 1) == pytest.approx([0.0, 0.25])
    # The truth second: 1 / log2(3). All equal: the mean of 1, 1 / log2(3), 1 / 2 and 1 / log2(5).
    assert ndcg(scores, 10) == pytest.approx([0.63093, (1 + 0.63093 + 0.5 + 0.43068) / 4], abs=1e-5)


def test_a_row_has_the_standard_error_of_its_users():
    row = row_of("x", np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]))
    assert row.ndcg[0] == 0.5
    assert row.errors[0] == pytest.approx(np.std([1, 1, 0, 0], ddof=1) / 2)
    assert "0.500 ± 0.289" in ranking_table([row])


def test_learning_and_ranking_run_on_a_released_folder(tmp_path, capsys, few_rivals):
    folder, out = release(tmp_path), tmp_path / "memories"
    main(["agentcf", "learn", "--dataset", str(folder), "--llm", "uniform", "--out", str(out), "--noun", "CD"])
    said = capsys.readouterr().out
    assert "step 3 of 3" in said
    assert f"The memories are in {out / 'agentcf.json'}" in said
    assert f"recsim-llm agentcf rank --dataset {folder} --memories {out}" in said
    catalogue = load_agentcf(folder).task.dataset.catalogue
    assert AgentCFMemories.load(out, catalogue).learned_users == [0, 1]
    numbers = tmp_path / "numbers.json"
    main(
        ["agentcf", "rank", "--dataset", str(folder), "--memories", str(out), "--llm", "uniform", "--out", str(numbers)]
    )
    said = capsys.readouterr().out
    for row in ("random (exact)", "popularity", "inverse popularity", "bm25", "AgentCF basic, learned memories"):
        assert f"\n{row} " in said
    rows = json.loads(numbers.read_text())["rows"]
    assert [row["users"] for row in rows] == [2] * len(rows)
    main(
        [
            "agentcf",
            "rank",
            "--dataset",
            str(folder),
            "--memories",
            "released",
            "--llm",
            "uniform",
            "--variant",
            "history",
        ]
    )
    assert "AgentCF history, released memories, 1 of 2 users with none " in capsys.readouterr().out


def test_learning_and_ranking_run_on_a_data_set_of_the_package(tmp_path, capsys, few_rivals):
    out = tmp_path / "memories"
    main(["agentcf", "learn", "--users", "3", "--positives", "2", "--out", str(out)])
    assert f"simulate --dataset synthetic --user-model agentcf:{out}" in capsys.readouterr().out
    main(["agentcf", "rank", "--users", "3", "--memories", str(out)])
    assert "AgentCF basic, learned memories " in capsys.readouterr().out
    main(["agentcf", "rank", "--users", "5", "--memories", str(out)])
    assert "AgentCF basic, learned memories, 2 of 5 users with none " in capsys.readouterr().out
    main(["agentcf", "rank", "--users", "3", "--llm", ""])
    said = capsys.readouterr().out
    assert "AgentCF" not in said.partition("Everybody")[0]
    assert "recsim-llm agentcf learn --dataset synthetic" in said


def test_learning_goes_on_with_the_same_command(tmp_path, monkeypatch, capsys):
    whole, killed, good, calls = tmp_path / "whole", tmp_path / "killed", hash_choice_llm(0), [0]
    words = ["agentcf", "learn", "--users", "4", "--positives", "3", "--out"]
    main([*words, str(whole)])

    def failing(prompt):
        calls[0] += 1
        if calls[0] > 30:
            raise LLMError("down")
        return good.generate([prompt])[0]

    monkeypatch.setattr(agentcf_command, "open_backend", lambda *_: nullcontext(FunctionLLM(failing, good.name)))
    with pytest.raises(SystemExit):
        main([*words, str(killed)])
    monkeypatch.setattr(agentcf_command, "open_backend", lambda *_: nullcontext(good))
    capsys.readouterr()
    main([*words, str(killed)])
    assert capsys.readouterr().out.startswith("step 1 of 3")
    assert (killed / "agentcf.json").read_text() == (whole / "agentcf.json").read_text()


def test_released_memories_that_are_not_there_are_missed_before_anything_is_fitted(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["agentcf", "rank", "--memories", "released", "--llm", "uniform"])
    assert "--memories released: synthetic comes with none" in capsys.readouterr().err


def test_a_fixed_rule_that_wins_is_said():
    """The truth of nobody was ever trained on, all others were: inverse popularity finds each, and is named."""
    leaky = [RankingRow("inverse popularity", 2, (1.0, 1.0, 1.0)), RankingRow("bm25", 2, (0.1, 0.2, 0.3))]
    honest = [RankingRow("inverse popularity", 2, (0.1, 0.1, 0.4)), RankingRow("bm25", 2, (0.1, 0.2, 0.5))]
    task = draw_task(load_dataset("synthetic")).first(2)
    seen = np.isin(task.log.items, task.truths)
    unseen = replace(task, dataset=replace(task.dataset, ratings=task.log.take(~seen)))
    assert "Inverse popularity reaches 1.000" in warning_of(unseen, leaky)
    assert "Inverse" not in warning_of(task, honest)


@pytest.mark.skipif(not RELEASED.exists(), reason="AgentCF's release is not here")
@pytest.mark.parametrize(
    ("split", "popularity", "inverse"),
    [
        ("dense", (0.184, 0.384, 0.518), (0.108, 0.262, 0.442)),
        ("sparse", (0.027, 0.052, 0.333), (0.329, 0.655, 0.679)),
    ],
)
def test_the_anchors_of_the_released_splits(split, popularity, inverse, few_rivals):
    """Measured by others with equals in a drawn order; here they are averaged over their orders, which is exact."""
    task = load_agentcf(RELEASED / f"CDs-100-user-{split}").task
    rows = {row.name: row for row in rivals(task)}
    assert rows["random (exact)"].ndcg == pytest.approx((0.100, 0.295, 0.454), abs=5e-4)
    assert rows["popularity"].ndcg == pytest.approx(popularity, abs=0.0025)
    assert rows["inverse popularity"].ndcg == pytest.approx(inverse, abs=0.0025)
    said = warning_of(task, list(rows.values()))
    assert ("Inverse popularity reaches 0.680" in said) is (split == "sparse")
    assert said.startswith({"dense": "15% of the true items and 12%", "sparse": "91% of the true items and 25%"}[split])
