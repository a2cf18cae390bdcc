from __future__ import annotations

import json

import pytest
from some_runs import make_manifest, make_steps, write_rounds

from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.runs import Run, RunWriter, export, find_runs, read_catalogue, write_catalogue
from recsim_llm.types import Item

ITEMS = [Item(i, f"Film {i}, or Ümlaut", 1990 + i if i % 2 else None, ("Drama", "War")[: i % 3]) for i in range(50)]


def record(folder, rounds=2, created="", **changes):
    writer = RunWriter.create(folder, make_manifest(created=created, **changes))
    write_rounds(writer, rounds)
    writer.finish({})
    return folder


def test_runs_are_found_at_three_depths_oldest_first(tmp_path):
    b = record(tmp_path / "b", created="2026-01-01")
    a = record(tmp_path / "deep" / "a", created="2026-01-02")
    record(tmp_path / "too" / "deep" / "c", created="2025-01-01")
    assert [run.folder for run in find_runs(b)] == [b]
    assert [run.folder for run in find_runs(tmp_path / "deep")] == [a]
    assert [run.folder for run in find_runs(tmp_path)] == [b, a]


def test_what_is_no_run_is_said_clearly(tmp_path):
    with pytest.raises(RecordingError, match="does not exist"):
        Run(tmp_path / "nothing")
    with pytest.raises(RecordingError, match="is not a run: it has no run.json"):
        Run(tmp_path)
    with pytest.raises(RecordingError, match="not a folder of runs"):
        find_runs(tmp_path / "nothing")
    with pytest.raises(RecordingError, match="holds no run"):
        find_runs(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RecordingError, match="is a file"):
        find_runs(tmp_path / "file")


def test_a_run_before_its_first_page(tmp_path):
    writer = RunWriter.create(tmp_path, make_manifest())
    run = Run(tmp_path)
    assert run.num_parts == 0
    assert list(run.iter_parts()) == []
    for read in (run.steps, run.sessions, run.users, run.step_batch, run.trajectory_hash, lambda: run.session(0)):
        with pytest.raises(RecordingError, match="holds no page yet: the run is running"):
            read()
    writer.interrupt("KeyboardInterrupt")
    assert Run(tmp_path).manifest.stopped_by == "KeyboardInterrupt"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format_version": 4}, "format 4, written by a newer version"),
        ({"format_version": 0}, "format 0, written by another version"),
        ({"colour": "red"}, "unknown entries: colour"),
        ({"status": "lost"}, "status must be one of running, finished, interrupted, not 'lost'"),
    ],
)
def test_manifests_of_other_versions_are_refused(tmp_path, change, said):
    path = record(tmp_path) / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RecordingError, match=said):
        Run(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": ', "null"])
def test_a_damaged_manifest_is_named(tmp_path, text):
    (record(tmp_path) / "run.json").write_text(text)
    with pytest.raises(RecordingError, match="run.json is damaged"):
        Run(tmp_path)


def test_unknown_sessions_users_and_columns(tmp_path):
    run = Run(record(tmp_path))
    with pytest.raises(RecordingError, match="no session 9"):
        run.session(9)
    with pytest.raises(RecordingError, match="no user 30"):
        run.user_steps(30)
    with pytest.raises(RecordingError, match="no column colour"):
        run.page_table(["page", "colour"])


def test_catalogues_survive(tmp_path):
    raw = [f"id-{item.id}" for item in ITEMS]
    write_catalogue(tmp_path, ITEMS, raw)
    assert read_catalogue(tmp_path) == (ITEMS, raw)
    with pytest.raises(RecordingError, match="catalogue.parquet"):
        read_catalogue(tmp_path / "nothing")


def test_export_has_one_row_a_shown_item(tmp_path):
    run = Run(record(tmp_path / "run"))
    write_catalogue(run.folder, ITEMS, [str(item.id) for item in ITEMS])
    frame = run.steps()
    wanted = [
        (s, page, slot, steps.items[s, slot], steps.watch[s, slot], steps.watched[s, slot], steps.ratings[s, slot])
        for steps, page in ((make_steps(page=0), 0), (make_steps(page=1), 1))
        for s in range(4)
        for slot in range(3)
        if steps.items[s, slot] >= 0
    ]
    wanted.sort(key=lambda row: row[:3])
    columns = ["session", "page", "slot", "item", "watch_probability", "watched"]
    assert list(frame[columns].itertuples(index=False, name=None)) == [row[:6] for row in wanted]
    assert frame["rating"].fillna(0).tolist() == [row[6] for row in wanted]
    assert frame["rating"].isna().tolist() == [not row[5] for row in wanted]
    assert frame["title"].tolist() == [ITEMS[row[3]].title for row in wanted]


def test_export_to_files(tmp_path):
    import pandas as pd

    run = Run(record(tmp_path / "run"))
    frame = run.steps()
    assert set(frame["title"]) == {""}
    export(run, tmp_path / "items.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "items.parquet"), frame)
    export(run, tmp_path / "items.csv")
    # A spreadsheet writes 5.0 as 5: what is a whole number everywhere must be told to be none.
    stars = pd.read_csv(
        tmp_path / "items.csv", keep_default_na=False, na_values={"rating": ""}, dtype={"page_reward": float}
    )
    pd.testing.assert_frame_equal(stars, frame)
    with pytest.raises(ConfigError, match="not to 'items.xlsx'"):
        export(run, tmp_path / "items.xlsx")
    with pytest.raises(RecordingError, match="cannot be written: No such file"):
        export(run, tmp_path / "nowhere" / "items.csv")
