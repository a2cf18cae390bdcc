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
from recsim_llm.experiments.fidelity.measures.baselines import fit_baselines
from recsim_llm.experiments.fidelity.measures.measures import divergence_bits
from recsim_llm.experiments.fidelity.prediction_checks import impersonal_scores
from recsim_llm.experiments.fidelity.report.sections import cross_linked

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


def test_points_are_judged_through_a_cross_fitted_link_and_shown_as_given(tmp_path: Path) -> None:
    path = predictions(tmp_path)
    frame = pd.read_csv(path)
    frame["prediction"] = frame[[f"p{k}" for k in range(1, 6)]].to_numpy() @ np.arange(1, 6)
    expected = float(np.sqrt(((frame["prediction"] - frame["rating"]) ** 2).mean()))
    frame.drop(columns=[f"p{k}" for k in range(1, 6)]).to_parquet(tmp_path / "points.parquet")
    found = certify_predictions(tmp_path / "points.parquet")
    assert found.metrics["rmse_mean"].value == pytest.approx(expected)
    rounded = found.baselines["as given, rounded"]
    assert rounded["rmse_mean"] == pytest.approx(expected)
    assert "log_loss" not in rounded
    # All mass on the nearest level is a far worse forecast than the same numbers with a spread.
    assert number(found.metrics["rps"].value) < 0.9 * number(rounded["rps"])
    assert number(found.metrics["log_loss"].value) < number(found.baselines["histogram sampler"]["log_loss"])
    assert any("nothing to fit baselines on" in sentence for sentence in found.warnings)


def test_a_baseline_that_is_uploaded_gets_its_own_row(tmp_path: Path) -> None:
    """The known answer of the link: the bias model's stars, uploaded, are judged exactly as the bias model's row is."""
    source = Source(WORLD, "random")
    data, split = load_source(source)
    test = split.test
    bias = fit_baselines(split.train, data.catalogue).stars["bias model"](test.users, test.items)
    frame = pd.DataFrame({"userId": test.users, "movieId": test.items, "stars": test.values, "prediction": bias})
    frame.to_csv(tmp_path / "bias.tsv", sep="\t", index=False)
    found = certify_predictions(tmp_path / "bias.tsv", WORLD)
    own = found.baselines["bias model"]
    for name in ("rps", "log_loss", "brier", "auc_like", "rmse_mean"):
        assert found.metrics[name].value == pytest.approx(own[name], rel=1e-4), name
    assert found.metrics["auc_like"].verdict == PASS


def test_a_constant_gains_nothing_by_the_link(tmp_path: Path) -> None:
    """A link fitted to true ratings has their histogram and spread whatever was predicted: they are judged as given."""
    path = predictions(tmp_path)
    frame = pd.read_csv(path).drop(columns=[f"p{k}" for k in range(1, 6)]).assign(prediction=3.6)
    frame.to_csv(path, index=False)
    found = certify_predictions(path, WORLD)
    assert {name for name, metric in found.metrics.items() if metric.verdict == PASS} == set()
    assert found.metrics["rating_sd_ratio"].value == 0.0
    assert "calibrated by itself" in found.metrics["ece"].why
    assert "reliability" not in found.curves


def number(value: float | None) -> float:
    assert value is not None
    return value


def test_stars_are_linked_without_the_own_persons_ratings() -> None:
    """Two people give the opposite of what is predicted; whoever learned from them would notice."""
    users = np.repeat(np.arange(10), 20)
    stars = np.tile(np.linspace(1, 5, 20), 10)
    levels = np.clip(np.round(stars).astype(int) - 1, 0, 4)
    pmf = cross_linked(users, stars, levels, np.arange(1.0, 6.0))
    odd = levels.copy()
    odd[users == 3] = 4 - odd[users == 3]
    changed = cross_linked(users, stars, odd, np.arange(1.0, 6.0))
    same_fold = users % 5 == 3
    assert np.array_equal(pmf[same_fold], changed[same_fold])
    assert not np.allclose(pmf[~same_fold], changed[~same_fold])
    assert pmf.sum(axis=1) == pytest.approx(np.ones(200))


def test_worse_than_a_constant_fails_without_a_log(tmp_path: Path) -> None:
    path = predictions(tmp_path)
    frame = pd.read_csv(path)
    frame["prediction"] = 6 - frame["rating"]
    frame.drop(columns=[f"p{k}" for k in range(1, 6)]).to_csv(path, index=False)
    found = certify_predictions(path)
    assert found.metrics["rmse_mean"].verdict == FAIL
    assert "(floor); there is no bar" in found.metrics["rmse_mean"].gate
    frame["prediction"] = 0.5 * frame["rating"] + 1.5  # better than a constant, but nobody can say how good
    frame.drop(columns=[f"p{k}" for k in range(1, 6)]).to_csv(path, index=False)
    assert certify_predictions(path).metrics["rmse_mean"].verdict == NOT_MEASURABLE


def test_truths_of_another_data_set_are_refused(tmp_path: Path) -> None:
    path = predictions(tmp_path)
    frame = pd.read_csv(path)
    frame.assign(rating=np.roll(frame["rating"], 1)).to_csv(tmp_path / "mixed.csv", index=False)
    with pytest.raises(DataError, match=r"true ratings are not those of data set '.*mixed up.*--log FILE"):
        certify_predictions(tmp_path / "mixed.csv", WORLD)
    one = frame.copy()
    one.loc[4, "rating"] = 1 + one.loc[4, "rating"] % 5
    one.to_csv(tmp_path / "one.csv", index=False)
    with pytest.raises(DataError, match=r"1 of [\d,]+ true ratings .* Row 5 has"):
        certify_predictions(tmp_path / "one.csv", WORLD)
    assert certify_predictions(tmp_path / "mixed.csv").n_users > 30  # without a data set there is nothing to compare


def test_a_pair_that_is_rated_twice_is_refused(tmp_path: Path) -> None:
    path = predictions(tmp_path)
    frame = pd.read_csv(path)
    pd.concat([frame, frame.iloc[[7]]]).to_csv(path, index=False)
    with pytest.raises(DataError, match=rf"row {len(frame) + 1} rates a pair .*\(1 such rows\)"):
        certify_predictions(path, WORLD)


@pytest.mark.parametrize(
    "scale", [lambda stars: 25 * (stars - 1), lambda stars: (stars - 1) / 4, lambda stars: stars - 3]
)
def test_predictions_on_another_scale_are_refused(tmp_path: Path, scale: Any) -> None:
    path = predictions(tmp_path)
    frame = pd.read_csv(path)
    frame["prediction"] = scale(frame["rating"])
    frame.drop(columns=[f"p{k}" for k in range(1, 6)]).to_csv(path, index=False)
    with pytest.raises(DataError, match=r"column prediction lies between .* stars go from 1 to 5"):
        certify_predictions(path, WORLD)


def choices(folder: Path, rarest_first: bool) -> Path:
    """Ten candidates per person, half of them rated; the others are the most popular items, or drawn evenly."""
    data, split = load_source(Source(WORLD, "random"))
    popularity = np.bincount(split.train.items, minlength=len(data.catalogue))
    rng = np.random.default_rng(1)
    rows = []
    for user in range(60):
        mine = split.test.items[split.test.users == user][:5]
        others = np.setdiff1d(np.arange(len(data.catalogue)), data.ratings.items[data.ratings.users == user])
        others = others[np.argsort(-popularity[others])] if rarest_first else rng.permutation(others)
        if rarest_first:
            mine = mine[np.argsort(popularity[mine])][:3]
        rows += [(user, item, 1) for item in mine] + [(user, item, 0) for item in others[:5]]
    frame = pd.DataFrame(rows, columns=["user", "item", "watched"])
    frame["prob_watch"] = 1.0 / (1.0 + popularity[frame["item"]])  # the garbage scorer: what is rare is liked
    path = folder / "choices.csv"
    frame.to_csv(path, index=False)
    return path


def test_inverse_popularity_on_leaky_candidates_is_refused(tmp_path: Path) -> None:
    found = certify_predictions(choices(tmp_path, rarest_first=True), WORLD)
    exposure = found.metrics["exposure_auc"]
    assert exposure.verdict == NOT_MEASURABLE
    assert "'inverse popularity' alone has AUC" in exposure.why
    assert number(found.baselines["inverse popularity"]["exposure_auc"]) > 0.6
    assert "no gate could be judged" in found.shortfall
    assert any(sentence.startswith("The candidates leak") for sentence in found.warnings)
    fair = certify_predictions(choices(tmp_path, rarest_first=False), WORLD)
    assert fair.metrics["exposure_auc"].verdict == FAIL  # the same scorer, judged: below popularity
    assert not any("leak" in sentence for sentence in fair.warnings)


def test_true_items_of_middling_popularity_between_rare_and_popular_ones_leak(tmp_path: Path) -> None:
    """Popularity and its inverse have AUC 0.5 here, yet 'neither rare nor popular' finds every true item."""
    data, split = load_source(Source(WORLD, "random"))
    popularity = np.bincount(split.train.items, minlength=len(data.catalogue))
    place = np.argsort(np.argsort(popularity, kind="stable")) / len(popularity)
    rows = []
    for user in range(100):
        mine = split.test.items[split.test.users == user]
        mine = mine[(place[mine] > 0.3) & (place[mine] < 0.8)][:5]
        others = np.setdiff1d(np.arange(len(data.catalogue)), data.ratings.items[data.ratings.users == user])
        others = others[np.argsort(popularity[others], kind="stable")]
        rows += [(user, item, 1) for item in mine] + [(user, item, 0) for item in [*others[:3], *others[-3:]]]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "watched"])
    frame["prob_watch"] = 1 / (1 + 20 * np.abs(place[frame["item_id"]] - 0.55))
    frame.to_csv(tmp_path / "middling.csv", index=False)
    found = certify_predictions(tmp_path / "middling.csv", WORLD)
    assert found.baselines["popularity"]["exposure_auc"] == pytest.approx(0.5)
    assert "'shape of popularity' alone has AUC" in found.metrics["exposure_auc"].why
    assert found.verdict == "certifies nothing"


def test_scores_that_know_nothing_about_people_by_hand() -> None:
    """Ten people: item A (5 ratings) always taken, B (1 rating) never; C is not in the log and never taken."""
    users = np.repeat(np.arange(10), 3)
    popularity, watched = np.tile([5.0, 1.0, 0.0], 10), np.tile([1.0, 0.0, 0.0], 10)
    scores = impersonal_scores(popularity, users, watched)
    assert scores["inverse popularity"][:3].tolist() == [-5, -1, 0]
    assert scores["not in the log"][:3].tolist() == [0, 0, 1]
    # Eight of the ten people are in other folds: log (8 + 1) / (0 + 1), and its negative.
    assert scores["shape of popularity"][:3] == pytest.approx([np.log(9), -np.log(9), -np.log(9)])


def test_released_candidates_that_leak_are_named(tmp_path: Path) -> None:
    """AgentCF's sparse CDs: the released random candidates are more popular than the true item."""
    folder = Path(__file__).parents[4] / "shared/data/agentcf/CDs-100-user-sparse"
    if not folder.exists():
        pytest.skip("needs AgentCF's released files")
    log = pd.read_csv(next(folder.glob("*.train.inter")), sep="\t")
    log.columns = [name.split(":")[0] for name in log.columns]
    ranked = json.loads((folder / "llmrank_2.json").read_text())
    count = log["item_id"].astype(str).value_counts()
    rows = [
        (case["user"], item, int(item == case["gt"]), 1.0 / (1.0 + int(count.get(item, 0))))
        for case in ranked
        for item in dict.fromkeys([*case["ranking"], case["gt"]])
    ]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "watched", "prob_watch"])
    frame.to_csv(tmp_path / "leaky.csv", index=False)
    columns = ["user_id", "item_id"]
    log[columns].to_csv(tmp_path / "log.csv", index=False)
    found = certify_predictions(tmp_path / "leaky.csv", log=tmp_path / "log.csv")
    assert "the candidates leak" in found.metrics["exposure_auc"].why


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
    (tmp_path / "a.csv").write_text("who,item\n1,2\n")
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
