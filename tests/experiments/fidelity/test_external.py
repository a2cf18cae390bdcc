import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsim_llm.agents.fitted_sources import Source, fitted_parameters, load_source
from recsim_llm.agents.statistical.statistical_users import rating_distribution, scores
from recsim_llm.certificate import FAIL, NOT_MEASURABLE, PASS
from recsim_llm.cli.command_line import main
from recsim_llm.errors import DataError
from recsim_llm.experiments.fidelity.external import certify_predictions, read_predictions
from recsim_llm.experiments.fidelity.measures.measures import divergence_bits

WORLD = "synthetic"


def predictions(folder: Path, **columns: object) -> Path:
    """Held-out ratings of the invented world with the distribution that statistical users predict."""
    source = Source(WORLD, "random")
    data, split = load_source(source)
    test, parameters = split.test, fitted_parameters(source)
    pmf = rating_distribution(parameters, scores(parameters, test.users, test.items[:, None]))[:, 0]
    frame = pd.DataFrame({"user_id": test.users, "item_id": test.items, "rating": test.values})
    frame[[f"p{k + 1}" for k in range(5)]] = pmf
    for name, column in columns.items():
        frame[name] = column
    path = folder / "predictions.csv"
    frame.to_csv(path, index=False)
    return path


def test_a_good_simulator_passes_beside_baselines_of_the_same_log(tmp_path: Path) -> None:
    found = certify_predictions(predictions(tmp_path), WORLD)
    skill = found.metrics["rps_skill"]
    assert skill.verdict == PASS
    assert skill.low is not None
    assert skill.high is not None
    assert skill.value is not None
    assert skill.low < skill.value < skill.high
    assert found.metrics["exposure_auc"].verdict == NOT_MEASURABLE
    assert {"constant", "item mean", "user mean", "bias model", "svd", "histogram sampler"} <= set(found.baselines)
    found.write(tmp_path / "certificate.json")
    stored = json.loads((tmp_path / "certificate.json").read_text())
    assert {"metrics", "dataset", "user_model", "split", "n_users", "warnings"} <= set(stored)
    assert set(stored["metrics"]["rps"]) >= {"value", "low", "high", "floor", "bar", "ceiling", "gate", "verdict"}


def test_people_without_a_true_rating_do_not_count_as_measured(tmp_path: Path) -> None:
    path = predictions(tmp_path)
    frame = pd.read_csv(path)
    people = frame["user_id"].drop_duplicates().tolist()
    assert certify_predictions(path, WORLD).shortfall == ""
    for few, lacking in ((29, True), (30, False)):
        rated = frame["rating"].where(frame["user_id"].isin(people[:few]))
        frame.assign(rating=rated).to_csv(tmp_path / "few.csv", index=False)
        found = certify_predictions(tmp_path / "few.csv", WORLD)
        assert found.n_users == few
        assert (f"people measured: {few}, needed: 30" in found.shortfall) == lacking


def test_a_table_of_one_person_certifies_nothing_on_the_command_line(tmp_path: Path, capsys) -> None:
    frame = pd.read_csv(predictions(tmp_path))
    frame[frame["user_id"] == frame["user_id"].iloc[0]].to_csv(tmp_path / "one.csv", index=False)
    ask = ["certify", "--dataset", WORLD, "--predictions", str(tmp_path / "one.csv"), "--out", str(tmp_path / "c")]
    for require in ([], ["--require", "rps_skill<=1"]):
        with pytest.raises(SystemExit) as stopped:
            main([*ask, *require])
        assert stopped.value.code == 1
        assert "This certifies nothing: people measured: 1, needed: 30" in capsys.readouterr().err
    assert (tmp_path / "c/certificate.html").exists()


def test_points_have_no_likelihood_but_an_rmse(tmp_path: Path) -> None:
    path = predictions(tmp_path)
    frame = pd.read_csv(path)
    frame["prediction"] = frame[[f"p{k}" for k in range(1, 6)]].to_numpy() @ np.arange(1, 6)
    expected = float(np.sqrt(((frame["prediction"] - frame["rating"]) ** 2).mean()))
    frame.drop(columns=[f"p{k}" for k in range(1, 6)]).to_parquet(tmp_path / "points.parquet")
    found = certify_predictions(tmp_path / "points.parquet")
    assert found.metrics["rmse_mean"].value == pytest.approx(expected)
    assert found.metrics["log_loss"].verdict == NOT_MEASURABLE
    assert any("nothing to fit baselines on" in sentence for sentence in found.warnings)


def test_whoever_knows_the_answers_is_suspected(tmp_path: Path) -> None:
    path = predictions(tmp_path)
    frame = pd.read_csv(path)
    frame["prediction"] = frame["rating"] + 0.1
    frame.drop(columns=[f"p{k}" for k in range(1, 6)]).to_csv(path, index=False)
    assert any("leakage" in sentence for sentence in certify_predictions(path, WORLD).warnings)


def test_pairs_that_were_trained_on_are_suspected(tmp_path: Path) -> None:
    path = predictions(tmp_path)
    pd.read_csv(path)[["user_id", "item_id", "rating"]].to_csv(tmp_path / "log.csv", index=False)
    found = certify_predictions(path, log=tmp_path / "log.csv")
    assert any("100.0% of the pairs" in sentence for sentence in found.warnings)


def test_rows_in_another_order_give_the_same_certificate(tmp_path: Path) -> None:
    path = predictions(tmp_path)
    first = certify_predictions(path, WORLD)
    pd.read_csv(path).sample(frac=1, random_state=0).to_csv(path, index=False)
    again = certify_predictions(path, WORLD)
    for name, metric in first.metrics.items():
        if metric.value is not None and not name.endswith("_p"):
            assert again.metrics[name].value == pytest.approx(metric.value, abs=1e-6), name


def test_choices_are_measured_where_the_file_has_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    size = len(load_source(Source(WORLD, "random"))[1].test)
    watched = rng.integers(0, 2, size)
    chance = np.clip(0.5 * watched + rng.uniform(0, 0.5, size), 0, 1)
    path = predictions(tmp_path, watched=watched, prob_watch=chance, slot=rng.integers(1, 5, size))
    found = certify_predictions(path, WORLD)
    assert found.metrics["exposure_auc"].value == pytest.approx(1.0)
    assert found.metrics["slot_curve_gap"].verdict == PASS
    assert len(found.curves["slots"]["watched"]) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p1": 2.0}, "p1 in row 1"),
        ({"p1": 0.9, "p2": 0.9}, "add up to"),
        ({"rating": 2.5}, "no rating level"),
        ({"rating": "good"}, "not a number"),
        ({"watched": 3, "prob_watch": 0.5}, "watched in row 1"),
        ({"slot": 0}, "slot in row 1"),
    ],
)
def test_a_wrong_value_is_named_with_its_row(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        certify_predictions(predictions(tmp_path, **change), WORLD)


def test_unknown_ids_and_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no user with the id x"):
        certify_predictions(predictions(tmp_path, user_id="x"), WORLD)
    (tmp_path / "a.csv").write_text("user,item\n1,2\n")
    with pytest.raises(DataError, match="no column user_id"):
        read_predictions(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("user_id,item_id,rating\n1,2,3\n")
    with pytest.raises(DataError, match="nothing to score"):
        read_predictions(tmp_path / "b.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_predictions(tmp_path / "none.csv")


AGENT4REC = os.environ.get("RECSIM_LLM_AGENT4REC", "")
needs_agent4rec = pytest.mark.skipif(not AGENT4REC, reason="RECSIM_LLM_AGENT4REC names no folder of published data")


def published_pages() -> list[dict[str, Any]]:
    """Pages of the released run of 1,000 agents."""
    lines = (Path(AGENT4REC) / "runs/LightGCN_1000x5x4/behavior.jsonl").read_text().splitlines()
    return [page for page in map(json.loads, lines) if page["page"] != "interview"]


def same_title(title: str) -> str:
    return re.sub(r"[^a-z0-9]", "", re.sub(r"\(\d{4}\)", "", title).lower())


@needs_agent4rec
def test_published_agent4rec_run_is_below_popularity(tmp_path: Path) -> None:
    """Golden numbers, as re-analysed: within-user AUC 0.556, popularity 0.603; watched by slot 91, 54, 38, 19 %."""
    rows = []
    for page in published_pages():
        watched = {same_title(title) for title in page["watched"]}
        for slot, (item, title) in enumerate(zip(page["recommended_id"], page["recommended"], strict=True)):
            truth, aligned = item in page["ground_truth"], item in page["align_id"]
            rows.append((page["user"], item, slot + 1, int(truth), float(aligned), float(same_title(title) in watched)))
    names = ["user_id", "item_id", "slot", "watched", "aligned", "simulated"]
    frame = pd.DataFrame(rows, columns=names)
    lines = (Path(AGENT4REC) / "cf_data/train.txt").read_text().splitlines()
    log = [(int(user), int(item)) for user, *items in map(str.split, lines) for item in items]
    pd.DataFrame(log, columns=["user_id", "item_id"]).to_csv(tmp_path / "log.csv", index=False)
    frame.assign(prob_watch=frame["aligned"]).to_csv(tmp_path / "aligned.csv", index=False)
    found = certify_predictions(tmp_path / "aligned.csv", log=tmp_path / "log.csv")
    exposure = found.metrics["exposure_auc"]
    assert exposure.value == pytest.approx(0.556, abs=0.003)
    assert exposure.floor == pytest.approx(0.603, abs=0.003)
    assert exposure.bar == pytest.approx(0.610, abs=0.005)
    assert exposure.verdict == FAIL
    frame.assign(prob_watch=frame["simulated"]).to_csv(tmp_path / "watched.csv", index=False)
    slots = certify_predictions(tmp_path / "watched.csv").curves["slots"]
    # Seven in a thousand watched titles are spelt so that they match no shown one.
    assert slots["watched"] == pytest.approx([0.91, 0.54, 0.38, 0.19], abs=0.012)
    assert slots["relevant"] == pytest.approx([0.46, 0.42, 0.40, 0.38], abs=0.005)


@needs_agent4rec
def test_published_agent4rec_ratings_collapse() -> None:
    """Golden: 0, 0, 7.8, 75.3, 16.9 %, 0.177 bits from ML-1M's 5.6, 10.8, 26.1, 34.9, 22.6 %."""
    ratings = np.concatenate([page["rating"] for page in published_pages()]).astype(int)
    shares = np.bincount(ratings, minlength=6)[1:] / len(ratings)
    assert shares == pytest.approx([0.0, 0.0, 0.078, 0.753, 0.169], abs=0.001)
    assert divergence_bits(shares, np.array([5.6, 10.8, 26.1, 34.9, 22.6])) == pytest.approx(0.177, abs=0.001)
