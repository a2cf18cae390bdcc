"""The Compare page: every part, deep links, and runs that lack something or cannot be compared."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from recsim_llm.dashboard.compare.compare_data import LABELS
from recsim_llm.experiments.metrics import summarise
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.interventions.uptake import uptakes, verdict
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.runs import Run

PARTS = ("Measures", "Differences", "Session length", "What was shown", "Learning", "Interventions")


def _page(top: str) -> None:
    from pathlib import Path

    from recsim_llm.dashboard.compare.compare_page import show

    show(Path(top))


def opened(top: Path, **query: str) -> AppTest:
    app = AppTest.from_function(_page, args=(str(top),), default_timeout=30)
    app.query_params.update(query)
    app.run()
    assert not app.exception
    return app


def texts(app: AppTest) -> str:
    """Everything that is written on the page, as one text."""
    kinds = ("markdown", "caption", "info", "warning", "error", "title")
    return "\n".join(element.value for kind in kinds for element in getattr(app, kind))


def address(app: AppTest, name: str = "runs") -> str:
    """A value of the address, which is a list where a test has set it."""
    value = app.query_params[name]
    return value if isinstance(value, str) else value[0]


def charts(app: AppTest) -> list[str]:
    return [chart.proto.spec for chart in app.get("vega_lite_chart")]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two policies on the same people, an older run on other data, and a training."""
    path = tmp_path_factory.mktemp("runs")
    config = SimulationConfig(dataset="synthetic:1:40", policies=("random",), users=7, pages=2, page_size=3)
    simulate(config, path / "other", progress=False)
    simulate(
        replace(config, dataset="synthetic:0:60", policies=("popularity", "random"), users=12, pages=3),
        path / "demo",
        progress=False,
    )
    training = path / "trained/ppo"
    training.mkdir(parents=True)
    (training / "curve.csv").write_text("step,reward,length\n0,1.5,3.0\n100,2.5,4.0\n")
    return path


@pytest.fixture
def top(recorded: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(recorded, tmp_path / "runs"))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("runs", ["demo/popularity,demo/random", "demo/random", "demo/random,other/random"])
def test_every_part_is_drawn(recorded, part, runs):
    app = opened(recorded, runs=runs, show=part)
    assert not app.error
    assert app.multiselect[0].value == runs.split(",")
    assert app.segmented_control[0].value == part
    said = texts(app)
    assert charts(app) or any(why in said for why in ("second run", "nothing to pair", "has an intervention"))


def test_interventions_are_shown_with_their_verdicts(tmp_path):
    (tmp_path / "plan.toml").write_text('[[advert]]\nround = 1\nuntil = 4\nitem = "3"\n')
    config = SimulationConfig(policies=("random",), users=60, rounds=4, pages=2, page_size=3)
    runs = simulate(replace(config, interventions=str(tmp_path / "plan.toml")), tmp_path / "runs", progress=False)
    app = opened(tmp_path / "runs", runs="random,random-control", show="Interventions")
    (found,) = uptakes(runs)
    said = texts(app)
    assert "advert of" in said
    assert verdict(found.difference) in said
    (chart,) = charts(app)
    assert "similar popularity" in chart
    assert "has an intervention" in texts(opened(tmp_path / "runs", runs="random", show="Interventions"))


def test_the_runs_of_the_newest_experiment_come_first(recorded):
    app = opened(recorded)
    assert app.multiselect[0].value == ["demo/popularity", "demo/random"]
    assert address(app) == "demo/popularity,demo/random"


def test_the_table_holds_what_the_command_prints(recorded):
    table = opened(recorded).dataframe[0].value.set_index("Run")
    for name in ("popularity", "random"):
        slow = summarise(Run(recorded / "demo" / name).step_batch())
        assert {m: table.loc[name, label] for m, (label, _) in LABELS.items()} == {m: str(slow[m]) for m in LABELS}


def test_another_choice_changes_the_address_and_the_numbers(recorded):
    app = opened(recorded)
    before = app.dataframe[0].value["Run"].tolist()
    app.multiselect[0].set_value(["demo/random"]).run()
    assert not app.exception
    assert before == ["popularity", "random"]
    assert app.dataframe[0].value["Run"].tolist() == ["random"]
    assert address(app) == "demo/random"


def test_another_baseline_turns_differences_round(recorded):
    app = opened(recorded, show="Differences")
    first = app.dataframe[0].value.iloc[0]
    app.selectbox[0].set_value("random").run()
    second = app.dataframe[0].value.iloc[0]
    assert (first["Run"], second["Run"]) == ("random", "popularity")
    assert float(first["Reward"].split()[0]) == -float(second["Reward"].split()[0])
    assert first["People in both"] == 12


def test_differences_to_other_data_are_refused_with_a_sentence(recorded):
    said = texts(opened(recorded, runs="demo/random,other/random", show="Differences"))
    assert "different data" in said
    assert "other people" in said


def test_nothing_chosen_and_unknown_runs_are_sentences(recorded):
    app = opened(recorded, runs="gone")
    assert "There is no run gone here" in texts(app)
    assert app.multiselect[0].value == ["demo/popularity", "demo/random"]
    app.multiselect[0].set_value([]).run()
    assert not app.exception


def test_an_empty_folder_is_a_sentence(tmp_path):
    assert "no run to compare" in texts(opened(tmp_path))


def test_half_written_old_and_bare_runs(top):
    begun = Path(shutil.copytree(top / "demo/random", top / "demo/begun"))
    shutil.rmtree(begun / "steps")
    for name in ("begun", "random"):
        manifest = json.loads((top / "demo" / name / "run.json").read_text())
        (top / "demo" / name / "run.json").write_text(json.dumps({**manifest, "status": "running", "parts": 0}))
    (top / "demo/popularity/catalogue.parquet").unlink()
    old = top / "demo/old"
    old.mkdir()
    (old / "run.json").write_text(json.dumps({"format_version": 1}))
    app = opened(top, runs="demo/begun,demo/random,demo/popularity", show="What was shown")
    said = texts(app)
    assert "holds no page yet" in said
    assert "random is running" in said
    assert "Not known for popularity" in said
    assert "format 1" in said.replace("\\", "")
    assert charts(app)


def test_names_with_commas_and_markup_survive_the_address(top):
    name = "demo/a,b <script>alert(1)<%2Fscript> **x**"
    shutil.copytree(top / "demo/random", top / name)
    app = opened(top, runs="demo/popularity")
    app.multiselect[0].set_value([name, "demo/random"]).run()
    assert not app.exception
    again = opened(top, runs=address(app), show="What was shown")
    assert again.multiselect[0].value == [name, "demo/random"]
    assert "<script>" not in texts(again)
    assert all("<script>" not in html.proto.body for html in again.get("html"))


def test_without_a_training_there_is_a_sentence(top):
    shutil.rmtree(top / "trained")
    assert "No training lies in this folder" in texts(opened(top, show="Learning"))
