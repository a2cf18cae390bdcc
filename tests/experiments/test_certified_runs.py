"""Certificates and calibrations on their way: made, found again by environments and runs, kept with runs."""

import json
import re
import warnings
from contextlib import nullcontext

import gymnasium as gym
import numpy as np
import pytest

import recsim_llm.experiments.api as api
import recsim_llm.experiments.simulation.recorders as module
from recsim_llm.agents.certified import certificate_path, certificates_folder
from recsim_llm.agents.named_users import inner_name, learned_identity, model_fingerprint
from recsim_llm.agents.population import make_population
from recsim_llm.certificate import FAIL, NOT_MEASURABLE, PASS, Certificate, Metric, failure, read_certificate
from recsim_llm.cli.command_line import main
from recsim_llm.cli.verbs.fidelity import certify_command
from recsim_llm.errors import ConfigError, UncertifiedWarning
from recsim_llm.experiments.fidelity.calibrate import CalibrateConfig, calibrate
from recsim_llm.experiments.simulation.config import SimulationConfig, chosen_model
from recsim_llm.experiments.simulation.cost.cost import dry_run
from recsim_llm.experiments.simulation.replay import replay
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.testing.scripted import hash_choice_llm

TOWN = "synthetic:0:300"
HYBRID = SimulationConfig(
    dataset=TOWN, user_model="hybrid", llm="hash", policies=("popularity",), users=12, pages=2, page_size=4
)


@pytest.fixture(autouse=True)
def _at_home(monkeypatch, tmp_path):
    monkeypatch.setenv("RECSIM_LLM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(api, "open_backend", lambda spec: nullcontext(hash_choice_llm(0)))
    monkeypatch.setattr(module, "open_backend", lambda *_: nullcontext(hash_choice_llm(0)))


def certify(*args: str) -> None:
    main(["certify", "--dataset", "synthetic", "--resamples", "100", *args])


def test_an_environment_of_unmeasured_people_says_so(tmp_path):
    with pytest.warns(UncertifiedWarning, match="recsim-llm certify --dataset synthetic --user-model llm"):
        env = gym.make("recsim_llm/Page-v0", user_model="llm", llm=hash_choice_llm(0))
    assert not env.reset(seed=0)[1]["certified"]


def certificate_of(failed: int, passed: int, people: int = 30) -> Certificate:
    """A certificate of users whom `hash_choice_llm(0)` plays: gates that failed, that passed, and one not judged."""
    verdicts = [FAIL] * failed + [PASS] * passed + [NOT_MEASURABLE]
    metrics = {f"gate_{i}": Metric(0.5, verdict=verdict) for i, verdict in enumerate(verdicts)}
    return Certificate(metrics, "synthetic", "llm", "random", people, llm="hash-choice:0")


def keep(certificate: Certificate) -> None:
    """Put it where environments look for the certificate of these users."""
    population = make_population("synthetic", "llm", hash_choice_llm(0))
    made_of = model_fingerprint("llm", population.dataset.catalogue)
    certificate.write(certificate_path(population.dataset.checksum, "llm", "hash-choice:0", made_of))


def everywhere() -> list[bool]:
    """`certified` as environments tell it, single ones and a vector of two."""
    players = {"user_model": "llm", "llm": hash_choice_llm(0)}
    page, item = (gym.make(f"recsim_llm/{name}-v0", **players) for name in ("Page", "Item"))
    vector = gym.make_vec("recsim_llm/Page-v0", num_envs=2, vectorization_mode="vector_entry_point", **players)
    told = [env.reset(seed=0)[1]["certified"] for env in (page, item)]
    return [bool(one) for one in (*told, *vector.reset(seed=0)[1]["certified"])]


@pytest.mark.parametrize(
    ("failed", "passed", "people", "verdict"),
    [
        (22, 3, 30, "failed"),
        (1, 24, 30, "failed"),
        (0, 25, 30, "passed"),
        (0, 25, 29, "certifies nothing"),
        (0, 0, 30, "certifies nothing"),
    ],
)
@pytest.mark.filterwarnings("ignore::recsim_llm.errors.UncertifiedWarning")
def test_only_users_that_passed_every_gate_are_certified(tmp_path, failed, passed, people, verdict):
    keep(certificate_of(failed, passed, people))
    assert certificate_of(failed, passed, people).verdict == verdict
    assert everywhere() == [verdict == "passed"] * 4
    sentence = certify_command._consequence(certificate_of(failed, passed, people))
    assert ("count as certified now" in sentence) == (verdict == "passed")
    config = SimulationConfig(user_model="llm", llm="hash", policies=("random",), users=2, pages=1, page_size=3)
    (run,) = simulate(config, tmp_path / "runs", progress=False)
    assert run.manifest.summary["certified"] is (verdict == "passed")


def test_users_that_failed_are_told_from_users_that_nobody_measured():
    (unmeasured,), certified = warned()
    assert unmeasured.startswith("Nobody has measured how faithful 'llm' users of 'synthetic")
    assert not certified
    keep(certificate_of(22, 3))
    (said,), certified = warned()
    assert "failed 22 of 25 gates (gate_0, gate_1, gate_2 and 19 more)" in said
    assert "Take users that pass" in said
    assert "recsim-llm certify --dataset synthetic" in said
    assert "Nobody has measured" not in said
    assert not certified
    assert failure(certificate_of(2, 3)) == "failed 2 of 5 gates (gate_0, gate_1)"
    keep(certificate_of(0, 25))
    assert warned() == ([], True)


def test_a_simulation_of_users_that_failed_says_so(tmp_path, capsys):
    keep(certificate_of(22, 3))
    words = ["--user-model", "llm", "--llm", "hash", "--users", "2", "--pages", "1", "--policy", "random"]
    main(["simulate", *words, "--out", str(tmp_path / "runs")])
    out = capsys.readouterr().out
    assert "These users failed 22 of 25 gates" in out
    assert "Nobody has measured" not in out


def test_a_certificate_is_found_by_environments_and_travels_with_runs(tmp_path, capsys):
    certify("--user-model", "llm", "--llm", "hash", "--users", "30", "--rows", "10", "--out", str(tmp_path / "c"))
    out = capsys.readouterr().out
    assert "count as certified now" not in out, "answers drawn by lot pass few gates"
    (number, judged) = re.search(r"These users failed (\d+) of (\d+) gates", out).groups()
    (said,), certified = warned()
    assert not certified
    assert f"failed {number} of {judged} gates" in said
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        users = gym.make_vec("recsim_llm/Page-v0", num_envs=2, vectorization_mode="vector_entry_point")
    assert users.reset(seed=0)[1]["certified"].all(), "the truth of an invented world needs no certificate"
    other = make_population("synthetic", "llm", hash_choice_llm(1))
    assert other.certificate is None, "another model needs its own"
    config = SimulationConfig(user_model="llm", llm="hash", policies=("random",), users=4, pages=1, page_size=3)
    (run,) = simulate(config, tmp_path / "runs", progress=False)
    kept = read_certificate(run.folder / "certificate.json")
    assert kept.metrics == read_certificate(tmp_path / "c/certificate.json").metrics
    assert not run.manifest.summary["certified"]


@pytest.mark.slow
def test_requirements_decide_the_exit_code(tmp_path, capsys):
    certify("--user-model", "statistical", "--out", str(tmp_path / "c"), "--require", "rps_skill", "tester_pairs>=0.9")
    with pytest.raises(SystemExit) as stopped:
        certify("--user-model", "statistical", "--out", str(tmp_path / "c"), "--require", "rmse_mean<0.1")
    assert stopped.value.code == 1
    assert "rmse_mean is" in capsys.readouterr().err


def warned():
    """Whether an environment says that nobody has measured its people, and what `certified` of its infos says."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        env = gym.make("recsim_llm/Page-v0", user_model="llm", llm=hash_choice_llm(0))
    said = [str(each.message) for each in caught if each.category is UncertifiedWarning]
    return said, bool(env.reset(seed=0)[1]["certified"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("people", "rows", "lacks"),
    [(1, 10, "people measured: 1, "), (30, 3, "held-out rows")],
)
def test_a_certificate_of_too_few_is_written_and_certifies_nothing(tmp_path, capsys, people, rows, lacks):
    ask = ["--user-model", "llm", "--llm", "hash", "--users", str(people), "--rows", str(rows)]
    with pytest.raises(SystemExit) as stopped:
        certify(*ask, "--out", str(tmp_path / "c"))
    out, err = capsys.readouterr()
    assert stopped.value.code == 1
    for text in (out, err, *((tmp_path / f"c/certificate.{kind}").read_text() for kind in ("html", "md", "json"))):
        assert "This certifies nothing" in text
        assert lacks in text
    assert "count as certified" not in out
    assert warned()[0]
    assert not warned()[1]
    with pytest.raises(SystemExit) as stopped:
        certify(*ask, "--out", str(tmp_path / "c"), "--require", "slot_curve_gap>=0")
    assert stopped.value.code == 1
    assert "slot_curve_gap>=0" in capsys.readouterr().err


@pytest.mark.slow
def test_one_person_takes_no_certificate_away_and_an_old_one_of_one_person_counts_for_nothing(tmp_path):
    ask = ["--user-model", "llm", "--llm", "hash", "--rows", "10"]
    certify(*ask, "--users", "30", "--out", str(tmp_path / "c"))
    with pytest.raises(SystemExit):
        certify(*ask, "--users", "1", "--out", str(tmp_path / "one"))
    assert "gates" in warned()[0][0]
    (kept,) = certificates_folder().iterdir()
    kept.write_bytes((tmp_path / "one/certificate.json").read_bytes())
    (said,), certified = warned()
    assert not certified
    assert "people measured: 1, needed: 30" in said


def test_one_person_passes_no_gate(tmp_path):
    with pytest.raises(SystemExit):
        certify("--user-model", "statistical", "--users", "1", "--out", str(tmp_path / "c"))
    metrics = read_certificate(tmp_path / "c/certificate.json").metrics
    assert metrics["rps_skill"].value is not None
    assert metrics["rps_skill"].verdict == metrics["discrimination_popmatched_auc"].verdict == "not measurable"
    assert "no interval" in metrics["rps_skill"].why


def test_more_people_than_there_are_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        certify("--user-model", "statistical", "--users", "99999", "--out", str(tmp_path / "c"))
    assert stopped.value.code
    assert re.search(r"users is 99,999, and \d+ people of 'synthetic", capsys.readouterr().err)
    assert not (tmp_path / "c").exists()


def test_certify_writes_what_it_promises(tmp_path):
    certify("--user-model", "statistical", "--out", str(tmp_path / "c"))
    stored = json.loads((tmp_path / "c/certificate.json").read_text())
    assert stored["user_model"] == "statistical"
    assert stored["n_users"] > 100
    assert {"value", "low", "high", "floor", "bar", "ceiling", "gate", "verdict"} <= set(stored["metrics"]["rps_skill"])
    page = (tmp_path / "c/certificate.html").read_text()
    assert "<svg" in page
    assert not re.search(r"(src|href)=.?http", page), "nothing is fetched from elsewhere"
    assert (tmp_path / "c/certificate.md").exists()


def test_a_hybrid_without_calibration_names_the_way_out():
    with pytest.raises(ConfigError, match="recsim-llm calibrate --dataset synthetic --user-model hybrid:llm"):
        make_population("synthetic", "hybrid", hash_choice_llm(0))


def test_a_worthless_model_is_not_asked_and_the_run_replays(tmp_path):
    done = calibrate(CalibrateConfig(dataset=TOWN), hash_choice_llm(0), progress=False)
    assert not done.learned.weights.used.any()
    (run,) = simulate(HYBRID, tmp_path / "runs", progress=False)
    assert run.manifest.summary["llm"]["calls"] == 0
    assert (run.folder / "learned/hybrid.json").exists()
    # What this machine knows may change; the run keeps what it was made with.
    for file in done.folder.iterdir():
        file.write_text("broken")
    assert replay(run).steps == len(run.step_batch())


def test_calibrated_users_are_asked_and_corrected(tmp_path):
    calibrate(CalibrateConfig(dataset=TOWN), hash_choice_llm(0), progress=False)
    pages = np.arange(40).reshape(4, 10)
    raw, fitted = (make_population(TOWN, name, hash_choice_llm(0)).users for name in ("llm", "calibrated:llm"))
    for users in (raw, fitted):
        users.reset(np.arange(4), np.arange(4), np.arange(4).astype(np.uint64))
    assert fitted.react(np.arange(4), pages).rating_BKR.std() < raw.react(np.arange(4), pages).rating_BKR.std()


def test_a_calibration_belongs_to_its_model_prompts_and_data():
    identity = learned_identity(TOWN, "hybrid:agent4rec:items", "model-a")
    assert identity.key != learned_identity(TOWN, "hybrid:agent4rec:items", "model-b").key
    assert identity.key != learned_identity(TOWN, "hybrid:agent4rec", "model-a").key
    assert identity.key != learned_identity("synthetic", "hybrid:agent4rec:items", "model-a").key
    assert model_fingerprint("agent4rec") != model_fingerprint("agent4rec:items")


def test_a_dry_run_of_a_hybrid_costs_at_most_the_agents_alone():
    ((_, calls, _, _),) = dry_run(HYBRID)
    assert calls > 0


def test_names_and_defaults():
    assert chosen_model("", "") == ("statistical", "")
    assert chosen_model("", "openai:x") == ("hybrid", "openai:x")
    assert chosen_model("agent4rec", "")[1].startswith("transformers:")
    assert inner_name("hybrid") == "llm"
    for wrong in ("statistical", "hybrid:hybrid", "hybrid:statistical"):
        with pytest.raises(ConfigError, match="KIND"):
            inner_name(wrong)
