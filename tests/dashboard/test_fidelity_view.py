"""A certificate for the page: places between floor and ceiling, tables, reasons, and curves that lack something."""

from __future__ import annotations

import json
import math

import pytest

from recsim_llm.certificate import FAIL, NOT_MEASURABLE, PASS, Certificate, Metric
from recsim_llm.dashboard.fidelity import fidelity_charts, fidelity_data
from recsim_llm.experiments.fidelity.measure_labels import LABELS
from recsim_llm.experiments.fidelity.report.plots import FIGURES
from recsim_llm.experiments.fidelity.report.wording import headline

LIKED = Metric(0.8, 0.75, 0.85, 0.5, 0.7, 1.0, ">= 0.7 (bar)", PASS)
ERROR = Metric(0.9, 0.8, 1.0, 2.0, 1.0, 0.0, "<= 1 (bar)", PASS)
CURVES = {
    "reliability": {
        "predicted": [None, *(0.05 + 0.1 * k for k in range(1, 10))],
        "observed": [None, *(0.2 + 0.06 * k for k in range(1, 10))],
        "share": [0.0] + [1 / 9] * 9,
    },
    "rating_histogram": {"levels": [1.0, 2.0], "simulated": [0.4, 0.6], "real": [0.5, 0.5]},
    "user_means": {"simulated": [3.4, 3.6, None, 4.1], "real": [2.1, 3.3, 3.9, 4.6]},
    "discrimination": {"ratio": ["1:1", "1:9"], "model": [0.74, None], "popularity": [0.86] * 2, "ease": [0.92] * 2},
    "discrimination_popmatched": {"ratio": ["1:1", "1:9"], "model": [0.63] * 2},
    "popularity_shares": {"decile": list(range(1, 11)), "simulated": [0.1] * 10, "real": [0.1] * 10},
    "genre_shares": {"genre": ["Drama", "Film-Noir"], "simulated": [0.6, 0.4], "real": [0.7, 0.3]},
    "slots": {"slot": [1.0, 2.0], "watched": [0.9, 0.5], "relevant": [0.5, 0.4]},
    "session_length": {"page": [1.0, 2.0, 3.0], "simulated": [1.0, 0.9, 0.1], "real": [1.0, 0.6, 0.4]},
}


def certificate(metrics: dict[str, Metric], **more: object) -> Certificate:
    return Certificate(metrics, "ml-100k", "statistical", "random", 748, **more)  # type: ignore[arg-type]


def places(metric: Metric, name: str = "auc_like") -> dict[str, object]:
    rows = fidelity_data.scale_rows(certificate({name: metric}))
    return dict(rows[~rows["title"].astype(bool)].iloc[0])


def test_floors_are_at_0_and_ceilings_at_1_whichever_way_is_better():
    row = places(LIKED)
    found = [row[name] for name in ("at", "at_low", "at_high", "at_bar")]
    assert found == pytest.approx([0.6, 0.5, 0.7, 0.4])
    row = places(ERROR, "rmse_mean")
    assert [row["at"], row["at_low"], row["at_high"], row["at_bar"]] == pytest.approx([0.55, 0.6, 0.5, 0.5])


def test_what_lies_beyond_the_scale_is_drawn_at_its_end_and_marked():
    low = places(Metric(0.1, None, None, 0.5, None, 1.0, ">= 0.5", FAIL))
    assert (low["at"], low["mark"], low["verdict"]) == (fidelity_data.LEFT, fidelity_data.BELOW, "fails")
    assert math.isnan(low["at_low"])
    assert math.isnan(low["at_bar"])
    high = places(Metric(1.9, 1.8, 2.0, 0.5, 0.6, 1.0, ">= 0.6", PASS))
    assert (high["at"], high["at_high"], high["mark"]) == (
        fidelity_data.RIGHT,
        fidelity_data.RIGHT,
        fidelity_data.ABOVE,
    )


def test_only_metrics_with_a_scale_are_drawn():
    assert not fidelity_data.has_scale(Metric(None, floor=0.0, ceiling=1.0))
    assert not fidelity_data.has_scale(Metric(0.5, floor=0.0))
    assert not fidelity_data.has_scale(Metric(0.5, ceiling=1.0))
    assert not fidelity_data.has_scale(Metric(0.5, floor=1.0, ceiling=1.0))
    assert not fidelity_data.has_scale(Metric(0.5, 0.1, 0.9, floor=0.4, ceiling=0.6))
    assert fidelity_data.has_scale(Metric(0.5, 0.4, 0.6, floor=0.0, ceiling=1.0))
    assert fidelity_data.scale_rows(certificate({"auc_like": Metric(None)})).empty


def test_rows_stand_below_their_groups_main_metrics_first_or_all():
    known = {"rps": ERROR, "rps_skill": LIKED, "tester_pairs": LIKED}
    main = fidelity_data.scale_rows(certificate(known))
    assert [text.split(" ↑")[0] for text in main["text"]] == [
        "Ratings", "RPS skill", "Decisions", "known-order recommenders"
    ]  # fmt: skip
    assert main["row"].tolist() == [0, 1, 2, 3]
    assert len(fidelity_data.scale_rows(certificate(known), everything=True)) == 5


def test_counts_are_those_of_the_headline():
    names = [name for name, label in LABELS.items() if label.headline]
    kinds = (PASS, FAIL, NOT_MEASURABLE, PASS)
    metrics = {name: Metric(0.5, verdict=kinds[k % 4]) for k, name in enumerate(names)}
    found, words = fidelity_data.verdicts(certificate(metrics)), headline(certificate(metrics))
    assert f"{found.passed} of {found.passed + found.failed} main gates passed; {found.failed} failed" in words
    assert f"{found.unknown} main gates could not be measured" in words


def test_the_table_holds_every_metric_that_has_a_value():
    known = {"rps": ERROR, "auc_like": LIKED, "exposure_auc": Metric(None, why="nobody knows"), "their_own": LIKED}
    table = fidelity_data.metric_table(certificate(known), everything=True)
    assert table["Metric"].tolist() == ["RPS", "AUC of liking", "their_own"]
    assert table["95 % interval"].tolist()[1] == "0.750 to 0.850"
    assert table["Verdict"].tolist() == ["passes"] * 3
    assert "Note" not in table
    assert fidelity_data.metric_table(certificate({"ece": Metric(0.2, why="x")}), True)["Note"].tolist() == ["x"]
    assert fidelity_data.metric_table(certificate({"ece": Metric(None)}), True).empty


def test_reasons_are_told_once_with_all_they_hold_for():
    unknown = Metric(None, why="no exits")
    found = fidelity_data.not_measurable(
        certificate({"exposure_auc": unknown, "watch_ece": unknown, "ece": Metric(None)})
    )
    assert [name for name, _ in found["no exits"]] == ["AUC among shown items", "choice calibration error"]
    assert [name for name, _ in found["no reason is noted"]] == ["calibration error (ECE)"]


def test_the_best_of_each_column_is_marked():
    baselines = {"bias model": {"auc_like": 0.9, "log_loss": 1.5}, "constant": {"auc_like": 0.5, "log_loss": None}}
    known = {"auc_like": LIKED, "log_loss": Metric(1.2)}
    heads, rows = fidelity_data.baseline_table(certificate(known, baselines=baselines))
    assert heads == ["log-loss of the rating", "AUC of liking"]
    assert {name: [cell.best for cell in cells] for name, cells in rows} == {
        "statistical": [True, False], "bias model": [False, True], "constant": [False, False]
    }  # fmt: skip
    assert rows[2][1][0].text == "-"
    assert fidelity_data.baseline_table(certificate(known)) == ([], [])


def test_discrimination_says_what_popularity_and_ease_reach():
    known = {"discrimination_1_1_auc": Metric(0.8, floor=0.7, bar=0.9)}
    heads, ((words, cells),) = fidelity_data.discrimination_table(certificate(known), {"accuracy": "A", "auc": "AUC"})
    assert (heads, words) == (["A", "AUC"], "1:1, uniform")
    assert ("0.800", "0.700 / 0.900") in [(cell.text, cell.small) for cell in cells]


def test_every_figure_of_the_report_is_drawn():
    drawn = fidelity_charts.curve_charts(certificate({}, curves=CURVES))
    assert {name: title for name, (title, _) in drawn.items()} == {n: kind.title for n, kind in FIGURES.items()}
    for _, chart in drawn.values():
        assert chart.to_dict()["height"] > 100


@pytest.mark.parametrize("name", FIGURES)
def test_curves_that_lack_a_series_or_all_numbers_are_not_drawn(name):
    needs = FIGURES[name].needs
    lacking = {key: values for key, values in CURVES[name].items() if key != needs[0]}
    uneven = {**CURVES[name], needs[0]: CURVES[name][needs[0]][:-1]}
    empty = {key: [] for key in CURVES[name]}
    for curve in (lacking, uneven, empty):
        assert fidelity_charts.curve_charts(certificate({}, curves={name: curve})) == {}


def test_the_chart_of_the_scale_says_every_number_at_every_place_of_a_row():
    hostile = "'</script>\"\\ x" * 2
    rows = fidelity_data.scale_rows(certificate({"auc_like": LIKED, hostile: LIKED}), everything=True)
    chart = fidelity_charts.scale_chart(rows).to_dict()
    names = chart["layer"][0]["encoding"]["y"]["axis"]["labelExpr"]
    assert json.loads(names.removesuffix("[datum.value]")) == ["Ratings", "AUC of liking ↑", "Other", hostile]
    over = chart["layer"][-1]
    assert over["mark"]["opacity"] == 0
    assert {tip["field"] for tip in over["encoding"]["tooltip"]} >= {"value", "interval", "floor", "bar", "ceiling"}
    assert over["encoding"]["x"]["field"] == "left"
