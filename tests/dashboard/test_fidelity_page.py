"""The Fidelity page: a certificate from warnings to its command, hostile texts, and runs without one."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from recsim_llm.certificate import FAIL, FILE, PASS, Certificate, Metric
from recsim_llm.errors import RecordingError
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.runs import Run

HOSTILE = "<script>alert('x')</script> **b** [x](javascript:alert(1)) 😀 עברית"


def _page(top: str) -> None:
    from pathlib import Path

    from recsim_llm.dashboard.fidelity.fidelity_page import show

    show(Path(top))


def opened(top: Path) -> AppTest:
    app = AppTest.from_function(_page, args=(str(top),), default_timeout=30)
    app.run()
    assert not app.exception
    return app


def html(app: AppTest) -> str:
    return "\n".join(element.proto.body for element in app.get("html"))


def markdown(app: AppTest) -> str:
    kinds = ("markdown", "caption", "info", "warning", "error")
    return "\n".join(element.value for kind in kinds for element in getattr(app, kind))


CERTIFICATE = Certificate(
    metrics={
        "auc_like": Metric(0.8, 0.75, 0.85, 0.5, 0.7, 1.0, ">= 0.7 (bar)", PASS),
        "rps": Metric(0.4, 0.3, 0.5, 0.6, 0.45, 0.0, "<= 0.45 (bar)", FAIL),
        "exposure_auc": Metric(None, why=HOSTILE),
        "discrimination_1_1_auc": Metric(0.8, floor=0.7, bar=0.9, ceiling=1.0, verdict=PASS),
        HOSTILE: Metric(0.5, floor=0.0, ceiling=1.0, verdict=PASS),
    },
    dataset="ml-100k",
    user_model=HOSTILE,
    split="random",
    n_users=748,
    warnings=(HOSTILE,),
    baselines={HOSTILE: {"auc_like": 0.6}},
    curves={"rating_histogram": {"levels": [1.0, 2.0], "simulated": [0.4, 0.6], "real": [0.5, 0.5]}},
    notes={"leave": HOSTILE, "hybrid": [{"cell": HOSTILE, "weight": 0.5}], "command": f"recsim-llm {HOSTILE}"},
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = SimulationConfig(dataset="synthetic:0:40", policies=("random",), users=4, pages=2, page_size=3)
    (run,) = simulate(config, tmp_path_factory.mktemp("runs") / "demo", progress=False)
    return run


@pytest.fixture
def top(recorded: Run) -> Path:
    """The folder of runs; without a certificate, whatever the test before has done."""
    (recorded.folder / FILE).unlink(missing_ok=True)
    return recorded.folder.parents[1]


def test_a_run_without_a_certificate_says_how_to_make_one(top, recorded):
    app = opened(top)
    assert "Nobody had measured" in markdown(app)
    words = shlex.split(app.code[0].value)
    assert words[:2] == ["recsim-llm", "certify"]
    options = dict(zip(words[2::2], words[3::2], strict=True))
    assert options == {
        "--dataset": "synthetic:0:40", "--user-model": "statistical", "--out": str(recorded.folder)
    }  # fmt: skip


def test_a_certificate_is_shown_from_warnings_to_its_command(top, recorded):
    CERTIFICATE.write(recorded.folder / FILE)
    app = opened(top)
    assert "Read this first" in app.warning[0].value
    assert "main gates passed" in html(app)
    said = markdown(app)
    for part in ("Between floor and ceiling", "Not measurable, and why", "Simulated beside real", "Beside simple"):
        assert part in said
    assert app.dataframe[0].value["Metric"].tolist() == ["AUC of liking", HOSTILE]
    assert app.code[0].value == f"recsim-llm {HOSTILE}"
    assert len(app.get("vega_lite_chart")) == 2


def test_texts_of_a_certificate_are_never_executed(top, recorded):
    CERTIFICATE.write(recorded.folder / FILE)
    app = opened(top)
    assert "&lt;script&gt;" in html(app)
    assert "<script>" not in html(app)
    said = markdown(app)
    assert "<script>" not in said
    assert "**b**" not in said
    assert "[x](" not in said


def test_all_metrics_are_one_click_away(top, recorded):
    CERTIFICATE.write(recorded.folder / FILE)
    app = opened(top)
    app.toggle[0].set_value(True).run()
    assert not app.exception
    assert "RPS" in app.dataframe[0].value["Metric"].tolist()


def test_a_certificate_of_other_data_is_told_apart(top, recorded):
    replace(CERTIFICATE, warnings=(), dataset_checksum="0" * 64).write(recorded.folder / FILE)
    assert "other data than the run" in opened(top).warning[0].value
    replace(CERTIFICATE, warnings=(), dataset_checksum=recorded.manifest.dataset_checksum).write(recorded.folder / FILE)
    assert not opened(top).warning


def test_a_certificate_that_knows_nothing_is_drawn_too(top, recorded):
    replace(CERTIFICATE, metrics={}, curves={}, baselines={}, notes={}, warnings=()).write(recorded.folder / FILE)
    assert "No metric of this certificate" in markdown(opened(top))


def test_a_damaged_certificate_is_an_error_with_a_way_out(top, recorded):
    (recorded.folder / FILE).write_text("{")
    app = AppTest.from_function(_page, args=(str(top),), default_timeout=30).run()
    # Caught by the app around the pages, which shows it as a sentence.
    assert app.exception[0].proto.type.endswith(RecordingError.__name__)
    assert "recsim-llm certify" in app.exception[0].message
