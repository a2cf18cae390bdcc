"""The functions of the package's top level: notebooks and scripts call what the command line stands on."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

import recsim_llm
from recsim_llm.agents.population import make_population
from recsim_llm.certificate import FAIL, PASS, Certificate, Metric, read_certificate
from recsim_llm.cli.command_line import main
from recsim_llm.errors import ConfigError, MissingExtraError, RecordingError
from recsim_llm.experiments import api
from recsim_llm.experiments.metrics import METRICS, paired_difference, summarise

SMALL = {"users": 12, "pages": 2, "page_size": 3}
TOWN = {"users": 3, "rounds": 1, "graph": "none"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return recsim_llm.simulate(policies=["random", "ease"], **SMALL, out=folder, progress=False)


@pytest.fixture(autouse=True)
def _at_home(monkeypatch, tmp_path):
    monkeypatch.setenv("RECSIM_LLM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def test_every_name_is_there_and_comes_only_when_it_is_asked_for():
    for name in recsim_llm.__all__:
        assert getattr(recsim_llm, name).__name__ == name
        assert name in dir(recsim_llm)
    assert set(recsim_llm._WHERE) == set(recsim_llm.__all__)
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        _ = recsim_llm.simulat
    heavy = "[m for m in sys.modules if m.split('.')[0] in ('pandas', 'pyarrow', 'scipy', 'torch', 'pydantic') " \
            "or m.startswith(('recsim_llm.experiments', 'recsim_llm.runs', 'recsim_llm.agents'))]"  # fmt: skip
    code = f"import sys, recsim_llm; assert not {heavy}; recsim_llm.Run; assert {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(recsim_llm.__file__).parents[1])


@pytest.mark.parametrize(
    ("options", "kind", "function"),
    [
        (api.SimulationOptions, recsim_llm.SimulationConfig, recsim_llm.simulate),
        (api.CertifyOptions, recsim_llm.CertifyConfig, recsim_llm.certify),
    ],
)
def test_keywords_are_the_fields_of_the_config(options, kind, function):
    names = [field.name for field in fields(kind)]
    assert list(options.__annotations__) == names
    seen = inspect.signature(function).parameters
    assert list(seen)[-len(names) :] == names
    assert seen["dataset"].default == kind().dataset


def test_keywords_and_a_config_give_the_same_run(runs, tmp_path):
    config = recsim_llm.SimulationConfig(policies=("random",), users=12, pages=2, page_size=3)
    (by_config,) = recsim_llm.simulate(config, tmp_path / "a", progress=False)
    # NumPy's numbers, one policy as a text, and a config whose fields are replaced.
    (by_words,) = recsim_llm.simulate(
        replace(config, users=3), tmp_path / "b", policies="random", users=np.int64(12), progress=False
    )
    assert by_config.trajectory_hash() == by_words.trajectory_hash() == runs[0].trajectory_hash()
    assert by_words.manifest.config == by_config.manifest.config


def test_without_a_folder_it_is_that_of_the_command_line(capsys, tmp_path):
    (run,) = recsim_llm.simulate(policies="random", seed=4, **SMALL)
    assert run.folder == Path("runs/synthetic-statistical-seed4/random")
    assert capsys.readouterr().out == "Runs are in runs/synthetic-statistical-seed4.\n"
    words = "--policy random --seed 4 --users 12 --pages 2 --page-size 3"
    main(["simulate", *words.split(), "--resume"])
    assert recsim_llm.Run(run.folder).manifest.created == run.manifest.created, "the command line found this very run"
    assert capsys.readouterr().out.count("Runs are in") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"polices": "ease"}, r"simulate\(\) has no option polices\. Did you mean 'policies'\? Options: out, resume"),
        ({"resum": True}, "has no option resum. Did you mean 'resume'"),
        ({"users": "many"}, r"simulate\(\): users must be a whole number between 1 and .*, not 'many'"),
        ({"users": 0}, r"simulate\(\): users must be a whole number"),
        ({"users": True}, r"simulate\(\): users must be a whole number"),
        ({"policies": 3}, r"simulate\(\): policies must be a list of text"),
        ({"policies": []}, "Name at least one policy"),
        ({"policies": ["esae"]}, "ease"),
        ({"thoughts": "pages"}, "Did you mean 'page'"),
        ({"dataset": None}, r"simulate\(\): dataset must be text"),
        ({"config": "ml-100k"}, r"takes a SimulationConfig first, not 'ml-100k'; or .* simulate\(dataset=\.\.\.\)"),
        ({"out": ""}, "out must be a path"),
        ({"out": 3}, "out must be a path"),
        ({"out": "file"}, "out must name a folder, and there is a file of that name"),
        ({"resume": "yes"}, "resume must be true or false"),
        ({"engines": "local"}, r"engines must be a recsim_llm\.Engines\(\.\.\.\), not 'local'"),
        ({"budget": 5}, r"budget must be a recsim_llm\.Budget\(\.\.\.\), not 5"),
        ({"budget": recsim_llm.Budget(budget_calls=5)}, "neither these people nor these policies ask a language model"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(options, said, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match=said):
        recsim_llm.simulate(**options)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_holds_runs_is_not_written_to(runs):
    before = runs[0].trajectory_hash()
    top = runs[0].folder.parent
    with pytest.raises(RecordingError, match=r"already holds a run\. Go on with .* \(resume=True in Python\)"):
        recsim_llm.simulate(policies="random", **SMALL, out=top, progress=False)
    again = recsim_llm.simulate(policies=["random", "ease"], **SMALL, out=top, resume=True, progress=False)
    assert [run.trajectory_hash() for run in again] == [before, runs[1].trajectory_hash()]
    with pytest.raises(RecordingError, match=r"users \(12 there, 13 now\)"):
        recsim_llm.simulate(policies="random", **{**SMALL, "users": 13}, out=top, resume=True, progress=False)
    with pytest.raises(RecordingError, match="there is no run of random"):
        recsim_llm.simulate(policies="random", **SMALL, out=top.parent / "payed", resume=True, progress=False)


def test_compare_has_the_numbers_of_the_command_line(runs, capsys):
    table = recsim_llm.compare(runs)
    assert table.index.names == ["measure", "run"]
    assert table.loc["reward"].index.tolist() == ["random", "ease"]
    for run in runs:
        wanted = summarise(run.step_batch())
        for measure, estimate in wanted.items():
            row = table.loc[(measure, run.manifest.name)]
            assert (row["value"], row["low"], row["high"], row["n"]) == (
                estimate.value, estimate.low, estimate.high, estimate.n,
            )  # fmt: skip
    for measure in METRICS:
        gap = paired_difference(runs[0].step_batch(), runs[1].step_batch(), measure)
        row = table.loc[(measure, "ease")]
        assert (row["difference"], row["difference_low"], row["difference_high"], row["n_both"]) == (
            gap.value, gap.low, gap.high, gap.n,
        )  # fmt: skip
    assert table.xs("random", level="run")["difference"].isna().all()
    main(["compare", str(runs[0].folder.parent)])
    printed = capsys.readouterr().out
    reward = table.loc[("reward", "ease")]
    assert f"{reward['value']:.3f} [{reward['low']:.3f}, {reward['high']:.3f}]" in printed
    assert f"reward a session {reward['difference']:+.3f} [{reward['difference_low']:+.3f}" in printed
    # Tables of the run and the comparison agree to the bit.
    people = runs[1].users()
    assert (people["reward"] / people["sessions"]).mean() == pytest.approx(reward["value"], abs=1e-12)
    assert len(runs[1].sessions()) == table.loc[("sessions", "ease"), "value"] == 12


def test_compare_takes_folders_and_tells_equal_names_apart(runs, tmp_path):
    top = runs[0].folder.parent
    assert recsim_llm.compare(str(top)).equals(recsim_llm.compare([runs[0].folder, runs[1]]))
    (other,) = recsim_llm.simulate(policies="random", **SMALL, seed=1, out=tmp_path / "b", progress=False)
    names = recsim_llm.compare([runs[0], other]).loc["reward"].index.tolist()
    assert names == [str(runs[0].folder), str(other.folder)]
    one = recsim_llm.compare(runs[0])
    assert one["difference"].isna().all()


def test_compare_of_nothing_and_of_nonsense(tmp_path):
    with pytest.raises(RecordingError, match="no runs to compare"):
        recsim_llm.compare([])
    with pytest.raises(ConfigError, match="must be runs or folders, not 3"):
        recsim_llm.compare([3])
    with pytest.raises(RecordingError, match="is not a folder of runs"):
        recsim_llm.compare(tmp_path / "nowhere")


def test_a_society_that_nobody_visited(runs, tmp_path):
    for seed in range(20):
        (empty,) = recsim_llm.simulate(
            policies="random", **TOWN, page_size=3, seed=seed, out=tmp_path / str(seed), progress=False
        )
        if not empty.num_parts:
            break
    else:
        pytest.fail("every society was visited")
    assert len(empty.steps()) == len(empty.sessions()) == len(empty.users()) == 0
    table = recsim_llm.compare([empty, *runs])
    name = table.loc["reward"].index[0]
    assert table.loc[("users", name), "value"] == 0
    assert np.isnan(table.loc[("reward", name), "value"])
    ease = table.loc["reward"].iloc[2]
    assert ease["n_both"] == 12, "the first run that anybody visited is compared with"


def test_compare_names_a_part_that_is_damaged_or_missing(tmp_path):
    (run,) = recsim_llm.simulate(policies="random", **SMALL, out=tmp_path / "r", progress=False)
    part = run.folder / "steps/part-000000.parquet"
    content = part.read_bytes()
    part.write_bytes(content[:-30])
    with pytest.raises(RecordingError, match=r"part-000000\.parquet is damaged"):
        recsim_llm.compare(run)
    part.unlink()
    with pytest.raises(RecordingError, match="--resume"):
        recsim_llm.compare(run)


def test_replay_takes_a_run_or_its_folder(runs):
    by_run = recsim_llm.replay(runs[0])
    assert by_run == recsim_llm.replay(str(runs[0].folder))
    assert by_run.trajectory_hash == runs[0].trajectory_hash()


def test_bars_are_those_of_notebooks_where_there_is_one(monkeypatch):
    from recsim_llm.experiments.progress import progress_bar

    with progress_bar(3, "user", "x", show=False) as bar:
        assert isinstance(bar, tqdm), "outside notebooks it is the usual one"
        assert bar.disable
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    with progress_bar(3, "user", "x") as bar:
        assert bar.mininterval == 0.1
    monkeypatch.delitem(sys.modules, "ipykernel")
    with progress_bar(3, "user", "x") as bar:
        assert bar.mininterval == 10.0, "a log file gets few lines"


@pytest.mark.slow
def test_certify_writes_what_the_command_line_writes(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    found = recsim_llm.certify(dataset="synthetic", resamples=100, out=tmp_path / "c")
    said = capsys.readouterr().out
    assert said == f"The certificate is in {tmp_path / 'c'}.\n"
    assert found.folder == tmp_path / "c"
    assert (found.folder / "certificate.html").exists()
    stored = read_certificate(tmp_path / "c/certificate.json")
    assert stored == found
    assert stored.folder == found.folder
    assert '"folder"' not in (tmp_path / "c/certificate.json").read_text()
    main(["certify", "--dataset", "synthetic", "--resamples", "100", "--out", str(tmp_path / "by-command")])
    for name in ("certificate.json", "certificate.html", "certificate.md"):
        assert (tmp_path / "by-command" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()
    assert "The certificate is in " not in capsys.readouterr().out


def test_certify_refuses_what_cannot_be(monkeypatch):
    with pytest.raises(ConfigError, match=r"certify\(\) has no option split_by\. Did you mean 'split'\?"):
        recsim_llm.certify(split_by="random")
    with pytest.raises(ConfigError, match=r"certify\(\): split must be one of random, temporal"):
        recsim_llm.certify(split="half")
    with pytest.raises(ConfigError, match="takes a CertifyConfig first, not SimulationConfig"):
        recsim_llm.certify(recsim_llm.SimulationConfig())
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"recsim-llm\[report\]"):
        recsim_llm.certify()


def test_a_certificate_reads_well():
    metrics = {f"m{i}": Metric(0.1, verdict=verdict) for i, verdict in enumerate([PASS, PASS, FAIL])}
    found = Certificate(metrics, "ml-100k", "statistical", "random", 748, folder=Path("certificates/x"))
    assert repr(found) == (
        "Certificate('statistical', dataset='ml-100k', verdict='failed', gates_passed='2 of 3', n_users=748, "
        "folder='certificates/x')"
    )
    assert replace(found, folder=None) == found, "where a file lies is not what it says"


def test_an_object_plays_the_people(tmp_path):
    users = make_population("synthetic").users
    (run,) = recsim_llm.simulate(policies="random", users=4, pages=2, user_model=users, out=tmp_path, progress=False)
    assert run.manifest.user_model == "object:recsim_llm.agents.statistical.statistical_users.StatisticalUsers"
    assert recsim_llm.replay(run, users=users).trajectory_hash == run.trajectory_hash()
    with pytest.raises(ConfigError, match=r"user_model is a name .* or an object with reset, react, observe"):
        recsim_llm.simulate(user_model=7, out=tmp_path / "other", progress=False)
    with pytest.raises(ConfigError, match="not both"):
        recsim_llm.simulate(user_model=users, llm="uniform", out=tmp_path / "other", progress=False)


def test_a_model_that_nobody_asks_is_refused(tmp_path):
    """It was dropped without a word, and the run was of formulas."""
    with pytest.raises(ConfigError, match=r"--llm uniform: neither .* other people with --user-model"):
        recsim_llm.simulate(user_model="statistical", llm="uniform", users=2, out=tmp_path / "x", progress=False)
    assert not (tmp_path / "x").exists()
    with pytest.raises(SystemExit):
        main(["simulate", "--user-model", "statistical", "--llm", "uniform", "--out", str(tmp_path / "x")])
