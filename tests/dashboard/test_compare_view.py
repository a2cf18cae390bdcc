"""What is compared: counts against plain Python, measures against those of the command, tables that stay tables."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsim_llm.cli.run_table import run_table
from recsim_llm.dashboard.compare import compare_charts, compare_data, compare_table
from recsim_llm.dashboard.replay import learning
from recsim_llm.dashboard.view import RunView, open_view
from recsim_llm.experiments.metrics import METRICS, paired_difference, summarise, summarise_totals, table
from recsim_llm.experiments.studies.study_measures import coverage
from recsim_llm.experiments.studies.study_measures import survival as study_survival
from recsim_llm.runs import Manifest, StepBatch, write_catalogue
from recsim_llm.runs.recorded_context import HISTORY, HISTORY_SCHEMA
from recsim_llm.runs.run import STEPS, part_path
from recsim_llm.types import EMPTY, Item

LEVELS = (1.0, 2.0, 3.0, 4.0, 5.0)
K, N = 3, 15
GENRES = ("Drama", "Comedy", "Horror")
ITEMS = [Item(i, f"Title {i}", 1990 + i, GENRES[: i % 4]) for i in range(N)]


def steps_of(lengths: list[int], cap: int, seed: int = 0, first_user: int = 0) -> StepBatch:
    """Random steps: a session of each length; those of `cap` pages are cut off, the others leave; two share a user."""
    rng = np.random.default_rng(seed)
    rows = [(s, first_user + s // 2, p, p == n - 1, n == cap) for s, n in enumerate(lengths) for p in range(n)]
    session, user, page, last, long = (np.array(column) for column in zip(*rows, strict=True))
    size = len(rows)
    items = np.array([rng.permutation(N)[:K] for _ in range(size)], dtype=np.int64)
    items[::4, -1] = EMPTY
    watched = (rng.random((size, K)) < 0.5) & (items != EMPTY)
    return StepBatch(
        session=session.astype(np.int64),
        user=user.astype(np.int64),
        page=page.astype(np.int64),
        items=items,
        watch=rng.random((size, K)),
        rating_probs=np.full((size, K, len(LEVELS)), 1 / len(LEVELS)),
        watched=watched,
        ratings=np.where(watched, rng.integers(1, 6, (size, K)), 0).astype(np.float64),
        leave=rng.random(size),
        left=last & ~long,
        truncated=last & long,
        reward=rng.random(size),
    )


def record(folder: Path, steps: StepBatch, **manifest: object) -> Path:
    """A run folder written by hand, its steps in two parts."""
    folder.mkdir(parents=True)
    values = {
        "name": folder.name, "config": {}, "seed": 0, "versions": {}, "dataset": "by hand", "dataset_checksum": "a",
        "policy": "ease", "user_model": "statistical", "llm": "", "num_users": 9, "page_size": K,
        "rating_levels": LEVELS, "status": "finished", "parts": 2, **manifest,
    }  # fmt: skip
    Manifest(**values).write(folder)  # type: ignore[arg-type]
    half = np.arange(len(steps)) < len(steps) // 2
    for number, rows in enumerate((half, ~half)):
        path = part_path(folder, STEPS, number)
        path.parent.mkdir(exist_ok=True)
        pq.write_table(steps.take(rows).to_table(), path)
    write_catalogue(folder, ITEMS, [str(i) for i in range(N)])
    return folder


LENGTHS, CAP = [3, 1, 4, 2, 4, 1, 2, 3, 4, 2], 4


@pytest.fixture
def view(tmp_path: Path) -> RunView:
    return open_view(record(tmp_path / "run", steps_of(LENGTHS, CAP)))


def shown_items(view: RunView) -> list[tuple[int, int]]:
    steps = view.run.step_batch()
    return [(int(p), int(i)) for p, row in zip(steps.page, steps.items, strict=True) for i in row if i != EMPTY]


def test_measures_are_those_of_the_command_compare(view):
    ours, theirs = summarise_totals(view.totals()), summarise(view.run.step_batch())
    for name in (*METRICS, "users", "sessions", "pages"):
        for end in ("value", "low", "high", "n"):
            assert getattr(ours[name], end) == pytest.approx(getattr(theirs[name], end), rel=1e-12, nan_ok=True)
    assert table([("run", ours)]) == run_table([view.run])
    shown = compare_table.shown_table({"run": view.manifest}, {"run": ours}).iloc[0]
    assert all(shown[compare_data.label_of(metric)[0]] in run_table([view.run]) for metric in METRICS)


def test_differences_are_those_of_the_command_compare(view, tmp_path):
    other = open_view(record(tmp_path / "other", steps_of([2, 4, 1, 3], CAP, seed=1, first_user=2)))
    common, found = compare_data.differences(view.totals(), other.totals())
    assert common == 2
    for metric, gap in found.items():
        slow = paired_difference(view.run.step_batch(), other.run.step_batch(), metric)
        assert (gap.value, gap.low, gap.high, gap.n) == pytest.approx((slow.value, slow.low, slow.high, slow.n))
    assert list(found) == list(METRICS)


def test_people_without_a_counterpart_are_not_paired(view, tmp_path):
    other = open_view(record(tmp_path / "other", steps_of([2, 2], CAP, first_user=50)))
    assert compare_data.differences(view.totals(), other.totals()) == (0, {})


def test_a_measure_that_nobody_has_in_both_is_left_out(view, tmp_path):
    steps = steps_of(LENGTHS, CAP)
    bored = replace(steps, watched=np.zeros_like(steps.watched), ratings=np.zeros_like(steps.ratings))
    common, found = compare_data.differences(view.totals(), open_view(record(tmp_path / "bored", bored)).totals())
    assert common == 5
    assert "mean_rating" not in found
    assert found["watch_rate"].value < 0


def test_survival_is_that_of_studies_where_sessions_are_cut_off_at_the_end_only(view):
    frame = compare_data.survival(view)
    assert frame["page"].tolist() == list(range(CAP + 1))
    assert frame["alive"].to_numpy() == pytest.approx(study_survival(view.run.step_batch(), CAP))
    assert frame["sessions"].tolist() == [10, 10, 8, 5, 3]


def test_a_session_that_goes_on_counts_as_long_as_it_was_seen(tmp_path):
    steps = steps_of([1, 1, 2, 2], 9)  # sessions 0 to 3, a row a page: 0, 1, 2, 2, 3, 3
    left = np.array([True, False, False, False, False, True])  # sessions 1 and 2 are going on
    live = record(tmp_path / "live", replace(steps, left=left), status="running", parts=0)
    # Page 1: one of four leaves. Page 2: one of the two that have seen it.
    assert compare_data.survival(open_view(live))["alive"].tolist() == pytest.approx([1.0, 3 / 4, 3 / 8])


def test_survival_of_nothing_is_nothing(tmp_path):
    folder = record(tmp_path / "empty", steps_of([1], CAP), status="running", parts=0)
    for path in (folder / STEPS).iterdir():
        path.unlink()
    assert compare_data.survival(open_view(folder)).empty


def test_what_was_shown_is_counted_as_in_plain_python(view):
    counts = compare_data.shown_counts(view)
    rows = {(r.page, r.item): r.times for r in counts.itertuples()}
    assert rows == Counter(shown_items(view))
    head = frozenset({0, 1, 2})
    found = compare_data.exposure(counts, N, head)
    times = Counter(item for _, item in shown_items(view))
    every = [times[i] for i in range(N)]
    assert found.coverage == coverage(view.run.step_batch(), N)
    mean_difference = sum(abs(a - b) for a in every for b in every) / N**2
    assert found.gini == pytest.approx(mean_difference / (2 * sum(every) / N))
    assert found.tail == pytest.approx(sum(times[i] for i in range(3, N)) / sum(every))
    assert (found.shown, found.slots) == (len(times), sum(every))


def test_gini_knows_its_ends():
    assert compare_data.gini(np.ones(10)) == pytest.approx(0.0)
    assert compare_data.gini(np.eye(10)[0]) == pytest.approx(0.9)


def test_without_a_catalogue_nothing_is_made_up(view):
    found = compare_data.exposure(compare_data.shown_counts(view), 0, frozenset())
    assert np.isnan([found.coverage, found.gini, found.tail]).all()
    assert found.slots == len(shown_items(view))


def test_the_head_is_the_most_rated_fifth_and_ties_go_by_id(view):
    assert compare_data.head_of(view, N) == frozenset()
    rated = [7] * 3 + [2] * 2 + [9] * 2 + [1]
    size = len(rated)
    history = pa.table([list(range(size)), rated, [4.0] * size, [0] * size], schema=HISTORY_SCHEMA)
    pq.write_table(history, view.folder / HISTORY)
    assert compare_data.head_of(open_view(view.folder), 10) == {7, 2}


def test_shares_by_page_are_those_of_plain_python(view):
    counts, head = compare_data.shown_counts(view), frozenset({0, 1, 2})
    pages = {p: [i for q, i in shown_items(view) if q == p] for p in range(CAP)}
    tail = compare_data.tail_by_page(counts, head)
    assert tail["page"].tolist() == [p + 1 for p in pages]
    assert tail["share"].tolist() == pytest.approx(
        [np.mean([i not in head for i in items]) for items in pages.values()]
    )
    drift = compare_data.genre_drift(counts, ITEMS).set_index(["page", "genre"])["share"]
    for page, items in pages.items():
        weights: Counter[str] = Counter()
        for item in items:
            for genre in ITEMS[item].genres or (compare_data.NO_GENRE,):
                weights[genre] += 1 / max(len(ITEMS[item].genres), 1)  # type: ignore[assignment]
        for genre in (*GENRES, compare_data.NO_GENRE):
            assert drift[page + 1, genre] == pytest.approx(weights[genre] / len(items))
    assert compare_data.main_genres([drift.reset_index()], 2) == ["Drama", compare_data.NO_GENRE]


def test_pages_that_few_saw_are_left_out(view):
    assert compare_data.well_seen(compare_data.survival(view)) == 3  # of which 5 sessions saw page 3, and 3 page 4


def test_names_are_as_short_as_they_can_be():
    names = ["demo/ease", "demo/random", "old/random", "."]
    assert list(compare_data.short_names(names).values()) == ["ease", "demo/random", "old/random", "."]
    assert compare_data.short_names(["a/x", "b/a/x"])["b/a/x"] == "b/a/x"
    assert compare_data.newest_folder(["new/b", "old/a", "new/a"]) == ["new/a", "new/b"]


def test_what_cannot_be_compared_is_said(view):
    a = view.manifest
    assert compare_data.cautions({"a": a, "b": a}) == []
    others = {
        "different data": replace(a, dataset="other"),
        "simulated users differ": replace(a, llm="openai:m"),
        "Pages hold 3 or 10": replace(a, page_size=10),
        "different kinds": replace(a, config={"reward": "likes"}),
        "b is running": replace(a, status="running"),
    }
    for words, b in others.items():
        (sentence,) = compare_data.cautions({"a": a, "b": b})
        assert words in sentence
    assert not compare_data.same_people(a, replace(a, dataset_checksum="b"))


def test_the_csv_holds_all_digits(view):
    summary = summarise_totals(view.totals())
    shown = compare_data.exposure(compare_data.shown_counts(view), N, frozenset())
    text = compare_table.csv_text({"a,b": view.manifest}, {"a,b": summary}, {"a,b": shown})
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["run"] == "a,b"
    assert float(row["reward"]) == summary["reward"].value
    assert float(row["reward_low"]) == summary["reward"].low
    assert float(row["coverage"]) == shown.coverage
    assert row["long_tail_share"] == ""


def test_latex_is_escaped_and_every_row_has_every_column(view):
    summary = summarise_totals(view.totals())
    shown = compare_data.exposure(compare_data.shown_counts(view), N, frozenset())
    name = "50%_of $a & {b} #1 ~^\\\n[x]"
    text = compare_table.latex_text({name: summary}, {name: shown})
    assert r"50\%\_of \$a \& \{b\} \#1 \textasciitilde{}\textasciicircum{}\textbackslash{} [x]" in text
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert [line.replace(r"\&", "").count("&") for line in rows] == [len(METRICS) + 4] * 2
    assert str(summary["reward"]) in rows[1]


def test_trainings_are_found_by_policy_and_seed(tmp_path):
    for seed in (0, 1):
        folder = tmp_path / f"study/trained/seed{seed}/training/ppo"
        folder.mkdir(parents=True)
        (folder / "curve.csv").write_text(f"step,reward,length\n0,{1 + seed}.5,3.0\n100,2.5,4.0\n")
        (folder / "training.json").write_text(json.dumps({"config": {"seed": seed}, "checkpoint": {}}))
    (tmp_path / "half").mkdir()
    (tmp_path / "half/curve.csv").write_text("step,reward,length\n0,1.5\n")
    (tmp_path / "run/below").mkdir(parents=True)
    (tmp_path / "run/run.json").write_text("{}")
    (tmp_path / "run/below/curve.csv").write_text("step,reward,length\n0,1,1\n")
    found, unreadable = learning.find_trainings(tmp_path)
    assert [(t.name, t.seed) for t in found] == [("study/ppo", "0"), ("study/ppo", "1")]
    assert unreadable == ["half"]
    frame = learning.curve_frame(found)
    assert frame["reward"].tolist() == [1.5, 2.5, 2.5, 2.5]
    chart = compare_charts.learning_chart(frame, "reward", "reward").to_dict()
    assert chart["encoding"]["y"]["field"] == "reward"


def test_a_run_keeps_its_colour_whatever_is_left_out(view):
    frame = compare_data.interval_frame({"b": summarise_totals(view.totals())})
    one = frame[frame["metric"] == "reward"]
    chart = compare_charts.interval_chart(one, "reward", "reward", ["a", "b"], against="a").to_dict()
    colours = [layer["encoding"]["color"]["scale"] for layer in chart["layer"] if "color" in layer["encoding"]]
    assert all(scale["domain"] == ["a", "b"] for scale in colours)
    assert len({scale["range"][1] for scale in colours}) == 1
