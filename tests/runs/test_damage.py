"""Damaged parts and full disks."""

from __future__ import annotations

import errno
import os
import shutil

import numpy as np
import pytest
from some_runs import make_calls, make_manifest, make_steps, resume_and_finish, step_files, write_rounds

from recsim_llm.errors import RecordingError
from recsim_llm.runs import run_files
from recsim_llm.runs.run import Run, read_calls, read_steps
from recsim_llm.runs.store import RunWriter


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def _flip(path):
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [_truncate, _flip, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("kind", ["steps", "calls"])
def test_a_damaged_last_part_is_named_set_aside_and_recorded_again(undisturbed, tmp_path, damage, kind):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    damage(folder / kind / "part-000003.parquet")
    with pytest.raises(RecordingError, match=rf"{kind}/part-000003.parquet is damaged.*--resume"):
        Run(folder).step_batch() if kind == "steps" else Run(folder).calls()
    writer = resume_and_finish(folder)
    assert f"{kind}-part-000003.parquet.corrupt" in writer.warnings[0]
    assert (folder / f"{kind}-part-000003.parquet.corrupt").exists()
    assert step_files(folder) == step_files(undisturbed)
    assert Run(folder).recorded_completions() == Run(undisturbed).recorded_completions()


@pytest.mark.parametrize("kind", ["steps", "calls"])
def test_no_flipped_bit_goes_unnoticed(undisturbed, tmp_path, kind):
    read = {"steps": lambda path: read_steps(path).digest(), "calls": lambda path: read_calls(path).to_pydict()}[kind]
    path, noticed = tmp_path / "part.parquet", 0
    original = undisturbed / kind / "part-000000.parquet"
    whole, wanted = original.read_bytes(), read(original)
    for place in np.random.default_rng(0).choice(len(whole), 400, replace=False).tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            # What may change unnoticed are statistics and the name of the program: nothing that is read.
            assert read(path) == wanted
        except RecordingError:
            noticed += 1
    assert noticed > 200


@pytest.mark.parametrize("kind", ["steps", "calls"])
def test_a_damaged_part_in_the_middle_is_named_set_aside_and_recorded_again(undisturbed, tmp_path, kind):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    _truncate(folder / kind / "part-000001.parquet")
    with pytest.raises(RecordingError, match=rf"{kind}/part-000001.parquet is damaged.*--resume"):
        Run(folder).step_batch() if kind == "steps" else Run(folder).calls()
    writer = resume_and_finish(folder)
    asides = {path.name for path in folder.glob("*.corrupt")}
    # Steps go with their calls, not the other way round.
    with_calls = {"calls-part-000001.parquet.corrupt", "steps-part-000001.parquet.corrupt"}
    assert asides == ({"steps-part-000001.parquet.corrupt"} if kind == "steps" else with_calls)
    assert len(writer.warnings) == len(asides)
    assert step_files(folder) == step_files(undisturbed)
    assert Run(folder).recorded_completions() == Run(undisturbed).recorded_completions()


def test_a_finished_run_that_lost_its_last_part_is_not_finished(undisturbed, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    (folder / "steps" / "part-000003.parquet").unlink()
    assert not Run(folder).finished
    with pytest.raises(RecordingError, match="part-000003.parquet is missing"):
        Run(folder).trajectory_hash()


@pytest.mark.parametrize("call", ["write", "fsync", "open"])
@pytest.mark.parametrize("skip", [0, 1])
def test_a_full_disk_loses_nothing_and_says_how_to_go_on(broken_off, undisturbed, monkeypatch, call, skip):
    writer = RunWriter.resume(broken_off, make_manifest())
    write_rounds(writer, 2)
    before, real, done = step_files(broken_off), getattr(os, call), []

    def full(*args, **options):
        done.append(1)
        if len(done) > skip:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(run_files.os, call, full)
        with pytest.raises(RecordingError, match="the disk is full. Nothing that was recorded is lost.*--resume"):
            writer.write_round(2, make_steps(page=2, thoughts=True), make_calls(round_=2))
        with pytest.raises(RecordingError, match="the disk is full"):
            writer.interrupt("RecordingError")
    assert {name: data for name, data in step_files(broken_off).items() if name in before} == before
    assert not list(broken_off.rglob("*.tmp"))
    assert Run(broken_off).manifest.status == "running"
    resume_and_finish(broken_off)
    assert step_files(broken_off) == step_files(undisturbed)
