"""SQL over a run: what is recorded, empty tables for what is not, sentences for what is damaged."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from recsim_llm.dashboard.view import RunView
from recsim_llm.errors import RecordingError
from recsim_llm.experiments.metrics import (
    METRICS,
    paired_difference,
    paired_totals,
    summarise,
    summarise_totals,
)
from recsim_llm.runs.run_tables import totals_of

TABLES = ("steps", "calls", "events", "why", "asked", "memories", "history", "links")


def test_every_table_is_there_for_every_run(recorded):
    filled = {"sessions/ease": {"steps", "why", "history"}, "agents/ease": {"calls", "asked", "memories"}}
    for name in ("sessions/ease", "agents/ease", "town/popularity"):
        view = RunView(recorded / name)
        counts = {table: int(view.frame(f"SELECT count(*) AS n FROM {table}")["n"][0]) for table in TABLES}
        assert counts["steps"] == len(view.run.step_batch())
        assert counts["calls"] == view.run.calls().num_rows
        assert counts["events"] == view.run.events().num_rows
        assert all(counts[table] for table in filled.get(name, {"events", "links"}))


@pytest.mark.parametrize("name", ["sessions/ease", "agents/ease", "town/popularity"])
def test_sums_by_sql_are_those_of_the_arrays(recorded, name):
    view = RunView(recorded / name)
    by_sql, by_arrays = view.totals(), totals_of(view.run.step_batch())
    for field in dataclasses.fields(by_sql):
        np.testing.assert_allclose(getattr(by_sql, field.name), getattr(by_arrays, field.name), rtol=1e-12)
    assert str(summarise_totals(by_sql)) == str(summarise(view.run.step_batch()))


def test_paired_differences_are_those_of_compare(recorded):
    a, b = (RunView(recorded / "sessions" / name) for name in ("ease", "random"))
    for metric in METRICS:
        expected = paired_difference(a.run.step_batch(), b.run.step_batch(), metric)
        assert str(paired_totals(a.totals(), b.totals(), metric)) == str(expected)


def test_parts_are_numbered_and_values_are_passed(recorded):
    view = RunView(recorded / "sessions/ease")
    parts = view.frame("SELECT DISTINCT part FROM steps ORDER BY part")["part"].tolist()
    assert parts == list(range(view.run.num_parts))
    session = view.frame("SELECT page FROM steps WHERE session = ? ORDER BY page", 3)["page"].tolist()
    assert session == view.run.session(3).page.tolist()


def test_a_folder_with_quotes_and_a_run_without_anything_else(recorded, tmp_path):
    folder = tmp_path / "it's a run"
    shutil.copytree(recorded / "sessions/ease", folder)
    for name in ("catalogue.parquet", "people.json", "history.parquet"):
        (folder / name).unlink()
    shutil.rmtree(folder / "why")
    view = RunView(folder)
    assert view.items == ()
    assert view.people == view.raw_ids == {}
    assert view.title(3) == "item 3"
    assert view.certificate is None
    assert view.frame("SELECT * FROM why").empty
    assert view.frame("SELECT * FROM history").empty


def test_the_stamp_changes_with_every_part_and_damage_is_a_sentence(recorded, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(recorded / "sessions/ease", folder)
    before = RunView(folder)
    pages = len(before.run.step_batch())
    last = sorted((folder / "steps").iterdir())[-1]
    text = (
        (folder / "run.json")
        .read_text()
        .replace('"finished"', '"running"')
        .replace(f'"parts": {before.run.num_parts}', '"parts": 0')
    )
    (folder / "run.json").write_text(text)
    kept = last.read_bytes()
    last.unlink()
    fewer = RunView(folder)
    assert fewer.stamp != before.stamp
    assert len(fewer.frame("SELECT * FROM steps")) < pages
    last.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(RecordingError, match="--resume"):
        RunView(folder).frame("SELECT * FROM steps")
