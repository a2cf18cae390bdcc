from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from some_runs import ROUNDS, make_calls, make_manifest, make_steps, resume_and_finish, step_files, write_rounds

from recsim_llm.errors import RecordingError
from recsim_llm.runs import run_files
from recsim_llm.runs.run import Run
from recsim_llm.runs.steps import StepBatch, content_hash
from recsim_llm.runs.store import RunWriter, repair


def test_what_is_written_is_read(undisturbed):
    run = Run(undisturbed)
    assert run.finished
    assert (run.manifest.status, run.manifest.summary, run.num_parts) == ("finished", {"seconds": 1.5}, ROUNDS)
    parts = [make_steps(page=i, thoughts=True) for i in range(ROUNDS)]
    assert [part.digest() for part in run.iter_parts()] == [part.digest() for part in parts]
    assert run.trajectory_hash() == content_hash(parts) == run.step_batch().digest()
    assert run.page_table(["page", "reward"]).column_names == ["page", "reward"]
    assert run.session(2).page.tolist() == list(range(ROUNDS))
    assert run.user_steps(int(parts[0].user[3])).session.tolist() == [3] * ROUNDS
    calls = [make_calls(round_=i) for i in range(ROUNDS)]
    assert run.recorded_completions() == {k: c for b in calls for k, c in zip(b.keys, b.completions, strict=True)}
    assert run.calls()["round"].to_pylist() == [i for i in range(ROUNDS) for _ in range(3)]
    assert run.calls(["text"]).column_names == ["text"]


def test_files_depend_on_content_alone(undisturbed, tmp_path):
    writer = RunWriter.create(tmp_path / "again", make_manifest())
    write_rounds(writer, ROUNDS)
    writer.finish({})
    assert step_files(tmp_path / "again") == step_files(undisturbed)


def test_a_run_without_a_model_has_no_calls(tmp_path):
    writer = RunWriter.create(tmp_path, make_manifest(llm=""))
    write_rounds(writer, 1, calls=False)
    writer.finish({})
    assert Run(tmp_path).recorded_completions() == {}
    assert len(Run(tmp_path).calls()) == 0


class Killed(BaseException):
    """Stands for the end of the process: nothing in the package may catch it."""


class _Kernel:
    """Lets a number of system calls through, then ends the process; a write is cut in half."""

    def __init__(self, monkeypatch, calls):
        self.left = calls
        for name in ("open", "write", "fsync", "replace", "close"):
            monkeypatch.setattr(run_files.os, name, self._counted(getattr(os, name), name))

    def _counted(self, real, name):
        def call(*args, **options):
            if self.left is None or name == "close":
                return real(*args, **options)
            self.left -= 1
            if self.left < 0:
                if name == "write" and self.left == -1:
                    real(args[0], bytes(args[1])[: len(args[1]) // 2])
                raise Killed
            return real(*args, **options)

        return call


def _write_until_killed(folder, monkeypatch, calls):
    with monkeypatch.context() as patch:
        kernel = _Kernel(patch, calls)
        writer = None
        try:
            writer = RunWriter.create(folder, make_manifest())
            write_rounds(writer, ROUNDS)
            writer.finish({})
        except Killed:
            pass
        if writer is not None:
            writer._lock.release()
        return kernel.left


def test_killed_at_any_system_call_a_run_goes_on_as_if_nothing_had_been(undisturbed, tmp_path, monkeypatch):
    """Every moment between two system calls of a whole run, one after the other."""
    wanted, moments = step_files(undisturbed), 0
    while True:
        folder = tmp_path / str(moments)
        left = _write_until_killed(folder, monkeypatch, moments)
        before = (
            {name: data for name, data in step_files(folder).items() if name[0] != "."}
            if (folder / "steps").exists()
            else {}
        )
        assert before.items() <= wanted.items()
        answers = Run(folder).recorded_completions() if (folder / "run.json").exists() else {}
        if before:
            # Whoever has steps has their answers.
            assert set(answers) >= {key for i in range(len(before)) for key in make_calls(round_=i).keys}
        if (folder / "run.json").exists():
            resume_and_finish(folder)
        else:
            writer = RunWriter.create(folder, make_manifest())
            write_rounds(writer, ROUNDS)
            writer.finish({})
        assert step_files(folder) == wanted
        assert Run(folder).finished
        shutil.rmtree(folder)
        if left >= 0:
            break
        moments += 1
    assert moments > 40


_CHILD = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from some_runs import make_manifest, make_steps, make_calls
from recsim_llm.runs.store import RunWriter
folder = Path(sys.argv[1])
manifest = make_manifest()
writer = (RunWriter.resume if (folder / "run.json").exists() else RunWriter.create)(folder, manifest)
print("go", flush=True)
for i in range(int(sys.argv[3])):
    writer.write_round(i, make_steps(sessions=200, page=i), make_calls(200, i))
writer.finish({})
"""


def _child(folder, rounds):
    here = str(Path(__file__).parent)
    return subprocess.Popen([sys.executable, "-c", _CHILD, str(folder), here, str(rounds)], stdout=subprocess.PIPE)


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_kill_9_loses_nothing_that_was_finished(tmp_path, kills):
    rng, folder, rounds = np.random.default_rng(kills), tmp_path / "run", 40 * kills
    finished: dict[str, bytes] = {}
    for _ in range(kills):
        with _child(folder, rounds) as child:
            child.stdout.readline()
            time.sleep(rng.uniform(0, 0.25))
            child.send_signal(signal.SIGKILL)
        now = {name: data for name, data in step_files(folder).items() if name[0] != "."}
        assert finished.items() <= now.items()
        finished = now
        assert Run(folder).num_parts == len(now)
    with _child(folder, rounds) as child:
        assert child.wait() == 0
    whole = RunWriter.create(tmp_path / "whole", make_manifest())
    for i in range(rounds):
        whole.write_round(i, make_steps(sessions=200, page=i), make_calls(200, i))
    whole.finish({})
    assert step_files(folder) == step_files(tmp_path / "whole")
    assert Run(folder).recorded_completions() == Run(tmp_path / "whole").recorded_completions()


def test_a_run_can_be_read_while_it_is_written(tmp_path):
    writer = RunWriter.create(tmp_path, make_manifest())
    writer.write_round(0, make_steps(page=0), make_calls(round_=0))
    failures, counts, stop = [], [], threading.Event()

    def read():
        while not stop.is_set():
            try:
                run = Run(tmp_path)
                steps, answers = run.step_batch(), run.recorded_completions()
                counts.append(len(steps) // 4)
                assert all(key in answers for i in range(counts[-1]) for key in make_calls(round_=i).keys)
            except Exception as error:  # noqa: BLE001 - shown by the assertion below
                failures.append(error)
                return

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(1, 60):
        writer.write_round(i, make_steps(page=i), make_calls(round_=i))
    stop.set()
    reader.join()
    assert not failures
    assert counts == sorted(counts)
    assert len(set(counts)) > 1


def test_executed_again_a_run_is_compared_and_not_written(undisturbed, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.parquet")}
    created = Run(folder).manifest.created
    writer = RunWriter.resume(folder, make_manifest())
    for i in range(ROUNDS):
        writer.write_round(i, make_steps(page=i, thoughts=True))
    writer.finish({})
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/*.parquet")} == times
    assert Run(folder).manifest.created == created


def test_a_run_that_differs_is_refused_and_left_as_it_was(broken_off):
    before = step_files(broken_off)
    writer = RunWriter.resume(broken_off, make_manifest())
    steps = make_steps(page=0, thoughts=True)
    with pytest.raises(RecordingError, match="part-000000.*session 0, page 0: reward: .* recorded, 99.0 now"):
        writer.write_round(0, dataclasses.replace(steps, reward=np.array([99.0, *steps.reward[1:]])))
    assert step_files(broken_off) == before


def test_a_shorter_run_is_refused(broken_off):
    writer = RunWriter.resume(broken_off, make_manifest())
    write_rounds(writer, 1)
    with pytest.raises(RecordingError, match="holds 2 parts, but the run executed again has 1"):
        writer.finish({})


def test_rounds_have_no_gaps(tmp_path):
    writer = RunWriter.create(tmp_path, make_manifest())
    with pytest.raises(RecordingError, match="cannot be written before part 0"):
        writer.write_round(1, make_steps())


def test_answers_of_an_unfinished_round_are_kept_and_used(tmp_path):
    writer = RunWriter.create(tmp_path, make_manifest())
    writer.write_calls(0, make_calls(2))
    writer.interrupt("LLMError")
    assert Run(tmp_path).recorded_completions().keys() == set(make_calls(2).keys)
    with pytest.raises(RecordingError, match="no page yet"):
        Run(tmp_path).steps()

    writer = RunWriter.resume(tmp_path, make_manifest())
    three = make_calls(3)
    rest = dataclasses.replace(three, keys=three.keys[2:], prompts=three.prompts[2:], completions=three.completions[2:])
    writer.write_round(0, make_steps(thoughts=True), rest)
    writer.finish({})
    assert tuple(Run(tmp_path).recorded_completions().items()) == tuple(zip(three.keys, three.completions, strict=True))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"config": {"users": 5, "policies": ("random",), "seed": 0}}, "config.users was 4, is 5"),
        ({"versions": {"numpy": "2.1"}}, "versions.numpy was '2.0', is '2.1'"),
        ({"dataset_checksum": "xyz"}, "dataset_checksum was 'abc', is 'xyz'"),
        ({"llm": "other"}, "llm was 'fake', is 'other'"),
    ],
)
def test_going_on_with_other_settings_is_refused_by_name(broken_off, change, said):
    before = (broken_off / "run.json").read_text()
    with pytest.raises(RecordingError, match=said):
        RunWriter.resume(broken_off, make_manifest(**change))
    assert (broken_off / "run.json").read_text() == before
    resume_and_finish(broken_off)


def test_one_folder_one_run_one_writer(broken_off, tmp_path):
    with pytest.raises(RecordingError, match="already holds a run.*--resume"):
        RunWriter.create(broken_off, make_manifest())
    writer = RunWriter.resume(broken_off, make_manifest())
    with pytest.raises(RecordingError, match=f"written to by process {os.getpid()}"):
        RunWriter.resume(broken_off, make_manifest())
    with pytest.raises(RecordingError, match="written to by process"):
        repair(broken_off)
    writer.interrupt("done")
    writer.interrupt("again")
    with pytest.raises(RecordingError, match="has ended"):
        writer.write_round(2, make_steps(page=2))
    del writer
    forgotten = RunWriter.resume(broken_off, make_manifest())
    del forgotten
    resume_and_finish(broken_off)


def test_a_lock_of_another_process_holds_until_it_is_killed(tmp_path):
    with _child(tmp_path / "run", 100_000) as child:
        child.stdout.readline()
        with pytest.raises(RecordingError, match=f"process {child.pid}"):
            RunWriter.resume(tmp_path / "run", make_manifest())
        child.kill()
    RunWriter.resume(tmp_path / "run", make_manifest()).interrupt("")


def test_parts_are_plain_parquet_for_other_programs(undisturbed):
    frame = pq.read_table(undisturbed / "steps").to_pandas()
    assert len(frame) == 4 * ROUNDS
    assert StepBatch.from_table(pq.read_table(undisturbed / "steps")).digest() == Run(undisturbed).trajectory_hash()


def test_config_and_summary_must_be_json(tmp_path):
    with pytest.raises(RecordingError, match="JSON"):
        RunWriter.create(tmp_path / "a", make_manifest(config={"x": object()}))
    writer = RunWriter.create(tmp_path / "b", make_manifest())
    with pytest.raises(RecordingError, match="JSON"):
        writer.finish({"x": float("nan")})


def test_the_manifest_is_json_that_a_person_can_read(undisturbed):
    values = json.loads((undisturbed / "run.json").read_text())
    assert values["format_version"] == 3
    assert values["created"].endswith("+00:00")
    assert values["parts"] == ROUNDS
