"""The readable forms of a certificate: complete, safe, the same every time, and whole on any screen."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from recsim_llm.certificate import FAIL, NOT_MEASURABLE, PASS, Certificate, Metric, read_certificate
from recsim_llm.errors import MissingExtraError
from recsim_llm.experiments.fidelity.certificate_gates import GATES
from recsim_llm.experiments.fidelity.measure_labels import GROUPS, LABELS, label_of
from recsim_llm.experiments.fidelity.report.plots import FIGURES, figures, need_matplotlib
from recsim_llm.experiments.fidelity.report.report import write_report
from recsim_llm.experiments.fidelity.report.screen import HEIGHT, WIDTH, certificate_table
from recsim_llm.experiments.fidelity.report.wording import best_rows, headline, number, short_gate, title

HOSTILE = "<script>alert('x')</script> & \"quoted\" | `code` $\\frac{1}$ \x00\x1b[31m"
DOCS = Path(__file__).parents[2] / "docs" / "certificate.md"


def every_metric() -> dict[str, Metric]:
    """All metrics that have a name, with all kinds of verdict, as a certificate of ML-100K might have them."""
    rng = np.random.default_rng(0)
    metrics = {}
    for place, (name, label) in enumerate(LABELS.items()):
        floor, ceiling = (0.5, 1.0) if label.better == "higher" else (0.6, 0.0)
        value = float(floor + (ceiling - floor) * rng.uniform(-0.4, 1.1))
        verdict = (PASS, FAIL, PASS)[place % 3]
        metrics[name] = Metric(
            value, value - 0.02, value + 0.02, floor, (floor + ceiling) / 2, ceiling, ">= 0.7412 (bar)", verdict
        )
    metrics["exposure_auc"] = Metric(None, gate="> ? (floor)", why="the log does not say what was shown (docs/data.md)")
    metrics["session_length_ks"] = Metric(
        None, gate="<= 0.05", why="the log has no exits: when people leave is declared"
    )
    metrics["incremental_p"] = Metric(0.035, floor=1.0, ceiling=0.0, gate="< 0.01", verdict=FAIL)
    metrics["rating_jsd_bits"] = Metric(3.7e-5, 2.3e-5, 4.8e-4, 0.454, 3.6e-4, 1.1e-3, "<= 0.0053 (5 x ceiling)", PASS)
    metrics["watch_ece"] = Metric(0.2, why="there is nothing to hold it against")
    return metrics


def every_curve() -> dict[str, dict[str, list]]:
    return {
        "reliability": {
            "predicted": [None, *(0.05 + 0.1 * k for k in range(1, 10))],
            "observed": [None, *(0.2 + 0.06 * k for k in range(1, 10))],
            "share": [0.0] + [1 / 9] * 9,
        },
        "rating_histogram": {
            "levels": [1.0, 2.0, 3.0, 4.0, 5.0],
            "simulated": [0.0, 0.01, 0.16, 0.68, 0.15],
            "real": [0.06, 0.11, 0.27, 0.34, 0.22],
            "floor_low": [0.05, 0.1, 0.26, 0.33, 0.2],
            "floor_high": [0.07, 0.12, 0.28, 0.35, 0.23],
        },
        "user_means": {"simulated": [3.4, 3.6, None, 4.1], "real": [2.1, 3.3, 3.9, 4.6]},
        "discrimination": {
            "ratio": ["1:1", "1:2", "1:3", "1:9"],
            "model": [0.74, None, 0.74, 0.73],
            "popularity": [0.86] * 4,
            "ease": [0.92] * 4,
        },
        "discrimination_popmatched": {"ratio": ["1:1", "1:2", "1:3", "1:9"], "model": [0.63] * 4},
        "popularity_shares": {"decile": list(range(1, 11)), "simulated": [0.1] * 10, "real": [0.1] * 10},
        "genre_shares": {"genre": ["Drama", "Film-Noir"], "simulated": [0.6, 0.4], "real": [0.7, 0.3]},
        "slots": {"slot": [1.0, 2.0, 3.0, 4.0], "watched": [0.9, 0.5, 0.4, 0.2], "relevant": [0.5, 0.4, 0.4, 0.4]},
        "session_length": {"page": [1.0, 2.0, 3.0], "simulated": [1.0, 0.9, 0.1], "real": [1.0, 0.6, 0.4]},
    }


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return Certificate(
        metrics=every_metric(),
        dataset="ml-100k",
        user_model="hybrid:agent4rec",
        split="random",
        n_users=748,
        warnings=(
            "RMSE 0.700 is less than four fifths of the bias model's 0.940: check for leakage.",
            "Leaving: declared.",
        ),
        llm="transformers:a-model",
        dataset_checksum="170097bfe0ee5a9a4e82baaa82454a62",
        baselines={
            "constant": {"rps_skill": None, "rmse_mean": 1.128},
            "svd": {"rps_skill": 0.217, "rmse_mean": 0.923},
        },
        curves=every_curve(),
        notes={
            "command": "recsim-llm certify --dataset ml-100k",
            "held-out ratings": 15728,
            "leaving": "declared",
            "hybrid": [{"part": "rating", "cell": "cold item", "gain": 0.2, "weights": [0.3, 0.0], "used": True}],
        },
    )


@pytest.fixture(scope="module")
def written(certificate, tmp_path_factory) -> list[Path]:
    return write_report(certificate, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def written_hostile(certificate, tmp_path_factory) -> list[Path]:
    return write_report(hostile(certificate), tmp_path_factory.mktemp("hostile"))


def hostile(certificate: Certificate) -> Certificate:
    """The same with text from a bad place wherever a certificate has text."""
    odd = Metric(0.5, 0.4, 0.6, 0.0, 0.3, 1.0, HOSTILE, HOSTILE, HOSTILE)
    return replace(
        certificate,
        metrics={**certificate.metrics, HOSTILE: odd, f"{HOSTILE}2": Metric(None, gate=HOSTILE, why=HOSTILE)},
        dataset=HOSTILE, user_model=HOSTILE, llm=HOSTILE, split=HOSTILE, dataset_checksum=HOSTILE, warnings=(HOSTILE,),
        baselines={HOSTILE: {"rps_skill": 0.1, HOSTILE: 1.0}},
        curves={**every_curve(), HOSTILE: {}, "genre_shares": {"genre": [HOSTILE], "simulated": [1.0], "real": [1.0]}},
        notes={HOSTILE: HOSTILE, "command": HOSTILE, "table": [{HOSTILE: HOSTILE}, {HOSTILE: [HOSTILE]}]},
    )  # fmt: skip


class Tags(HTMLParser):
    """Collects the names and attributes of all tags, and checks that they close in order."""

    VOID = frozenset({"meta", "link", "img", "br", "hr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_table_fits_one_screen(certificate) -> None:
    for shown in (certificate, hostile(certificate), replace(certificate, warnings=("A long warning. " * 60,) * 3)):
        lines = certificate_table(shown).splitlines()
        assert len(lines) <= HEIGHT
        assert max(map(len, lines)) <= WIDTH


def test_the_table_says_value_references_gate_and_verdict(certificate) -> None:
    few = {
        name: certificate.metrics[name] for name in ("rps_skill", "rating_jsd_bits", "exposure_auc", "incremental_p")
    }
    few["rps_skill"] = Metric(0.227, 0.206, 0.255, 0.0, 0.199, 1.0, ">= 0.1992 (bar)", PASS)
    table = certificate_table(replace(certificate, metrics=few))
    row = next(line for line in table.splitlines() if "RPS skill" in line and "gates" not in line)
    assert row.split() == ["RPS", "skill", "0.227", "0.206..0.255", "0.000", "0.199", "1.000", ">=", "bar", "pass"]
    assert re.search(r"rating histogram JSD +3\.7e-05 .* <= 5\*ceiling +pass", table)
    assert "not measurable: AUC among shown items (the log does not say what was shown" in table
    assert re.search(r"liking: p of the gain +0\.0350.*FAIL", table), "other metrics are shown where they fail"
    assert all(group in table.splitlines() for group in ("Ratings", "Choices", "Population"))
    assert "! Leaving: declared." in table


def test_the_headline_counts_what_it_names() -> None:
    metrics = {
        "rps_skill": Metric(0.2, verdict=PASS), "auc_like": Metric(0.6, verdict=FAIL), "exposure_auc": Metric(None),
        "rps": Metric(0.5, verdict=FAIL), "mae_mean": Metric(0.7, verdict=PASS),
    }  # fmt: skip
    found = headline(Certificate(metrics, "d", "u", "random", 30))
    assert found == (
        "1 of 2 main gates passed; 1 failed: AUC of liking. Of further gates, 1 of 2 passed; 1 failed: RPS. "
        "1 main gate could not be measured."
    )
    nothing = "This certifies nothing: no gate could be judged. 0 of 0 main gates passed."
    assert headline(Certificate({}, "d", "u", "random", 30)) == nothing


def test_the_page_needs_nothing_else_and_lets_nothing_in(written_hostile) -> None:
    page, text, *plots = written_hostile
    tags = Tags(page.read_text(encoding="utf-8"))
    assert not tags.open
    assert "script" not in tags.names
    assert not {"img", "link", "iframe", "object", "image"} & tags.names
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    links = [value for name, value in tags.attributes if name in {"href", "xlink:href", "src"}]
    assert all(value and value.startswith("#") for value in links)
    ids = [value for name, value in tags.attributes if name == "id"]
    assert len(ids) == len(set(ids)), "figures on one page share no names"
    assert set(re.findall(r"url\(#([^)]*)\)", page.read_text(encoding="utf-8"))) | {v[1:] for v in links} <= set(ids)
    # An indented line of Markdown is code, where no tag is a tag.
    assert not [line for line in text.read_text(encoding="utf-8").splitlines() if "<" in line and line[:4] != "    "]
    for plot in plots:
        ElementTree.fromstring(plot.read_text(encoding="utf-8"))


def test_every_metric_is_on_page_and_in_markdown(certificate, written) -> None:
    page, text, *_ = written
    html, markdown = page.read_text(encoding="utf-8"), text.read_text(encoding="utf-8")
    for name, metric in certificate.metrics.items():
        assert number(metric.value) in html
        assert number(metric.value) in markdown
        if label_of(name).headline:
            assert label_of(name).text in html
            assert label_of(name).text in markdown
    assert all(f">{group}</th>" in html and f"### {group}" in markdown for group in GROUPS)
    for shown in (html, markdown):
        assert "recsim-llm certify --dataset ml-100k" in shown
        assert "the log does not say what was shown" in shown
        assert "How far the language model is believed" in shown
        assert "leakage" in shown
        assert "FAIL" in shown


def test_tables_of_markdown_are_tables(written, written_hostile) -> None:
    for files in (written, written_hostile):
        lines = files[1].read_text(encoding="utf-8").split("\n")
        cells = [len(re.findall(r"(?<!\\)\|", line)) for line in lines]
        for before, after in zip(cells, cells[1:], strict=False):
            assert before == after or 0 in (before, after)


def test_markdown_links_figures_that_exist(written) -> None:
    _, text, *plots = written
    links = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text.read_text(encoding="utf-8"))
    assert sorted(text.parent / link for link in links) == sorted(plots)
    assert {plot.stem for plot in plots} == {"overview", *FIGURES}


def test_the_same_certificate_gives_the_same_bytes(certificate, written, tmp_path) -> None:
    certificate.write(tmp_path / "certificate.json")
    again = read_certificate(tmp_path / "certificate.json")
    second = write_report(again, tmp_path)
    assert [path.name for path in written] == [path.name for path in second]
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(written, second, strict=True))


@pytest.mark.slow
def test_nobodys_matplotlib_settings_change_a_figure(certificate) -> None:
    import matplotlib

    plain = figures(certificate)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert figures(certificate) == plain
        assert matplotlib.rcParams["font.size"] == 30, "nor does a figure change theirs"


def test_figures_say_what_they_count(certificate) -> None:
    drawn = figures(certificate)
    assert "n = 15,728 ratings of 748 people" in drawn["reliability"]
    assert "n = 748 people" in drawn["slots"]
    assert all(FIGURES[name].title in svg for name, svg in drawn.items() if name in FIGURES)


@pytest.mark.parametrize(
    "curve",
    [{}, {"predicted": []}, {"predicted": [], "observed": [], "share": []}, {"predicted": [0.1], "share": [1.0]},
     {"predicted": [0.1, 0.2], "observed": [0.1], "share": [1.0]},
     {"predicted": [None], "observed": [None], "share": [None]}],
)  # fmt: skip
def test_curves_that_cannot_be_drawn_are_left_out(certificate, tmp_path, curve) -> None:
    curves = {"reliability": curve, "of another version": {"x": [1.0]}}
    names = [path.name for path in write_report(replace(certificate, curves=curves), tmp_path)]
    assert names == ["certificate.html", "certificate.md", "overview.svg"]


def test_a_certificate_of_nothing_can_be_read(tmp_path) -> None:
    empty = Certificate({}, "d", "u", "external", 0)
    assert "0 of 0 main gates" in certificate_table(empty)
    page, text = write_report(empty, tmp_path)
    assert not Tags(page.read_text(encoding="utf-8")).open
    assert "0 of 0 main gates" in text.read_text(encoding="utf-8")


def test_without_matplotlib_the_way_out_is_named(certificate, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"recsim-llm\[report\]"):
        need_matplotlib()
    with pytest.raises(MissingExtraError, match="matplotlib"):
        write_report(certificate, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_every_metric_is_documented_with_its_gate() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for name in LABELS:
        assert f"`{re.sub(r'_1_[1239]_', '_1_M_', name)}`" in text, name
    rows = {m[1]: line for line in text.splitlines() if (m := re.match(r"\| `(\w+)`", line))}
    for name, gates in GATES.items():
        wanted = [f"{gate.compare} {gate.factor:g}" if not gate.reference else gate.reference for gate in gates]
        gate_cell = rows[name].rstrip(" |").rsplit("|", 1)[1]
        assert all(word in gate_cell for word in wanted), (name, wanted, gate_cell)


def test_labels_fit_and_belong_somewhere() -> None:
    assert all(len(label.text) <= 26 and label.meaning.endswith(".") for label in LABELS.values())
    assert {label.group for label in LABELS.values()} == set(GROUPS)
    assert len({label.text for label in LABELS.values()}) == len(LABELS), "no two metrics look alike"
    assert label_of("unheard_of") == ("Other", "unheard_of", "", "higher", True)
    assert GATES.keys() <= LABELS.keys()


def test_numbers_keep_three_places_or_two_digits() -> None:
    values = (None, 0.0, 3.7e-5, -0.0077, 0.227, 12.5, 123456.0)
    assert [number(v) for v in values] == ["-", "0.000", "3.7e-05", "-0.0077", "0.227", "12.500", "1.23e+05"]


def test_gates_lose_the_numbers_that_have_columns() -> None:
    assert short_gate(">= 0.1992 (bar)") == ">= bar"
    assert short_gate("<= 0.005323 (5 x ceiling)") == "<= 5*ceiling"
    assert short_gate(">= 0.9 and <= 1.1") == ">= 0.9, <= 1.1"
    assert short_gate("> 0, with the whole interval") == "> 0, interval"
    assert short_gate(">= 0, within the interval") == ">= 0, high end"


def test_the_best_of_a_column_is_found_by_its_direction() -> None:
    assert best_rows("rps_skill", [0.1, None, 0.3]) == {2}
    assert best_rows("rmse_mean", [0.9401, 0.9402, 1.1]) == {0, 1}
    assert best_rows("rating_sd_ratio", [1.2, 0.9]) == {1}
    assert best_rows("ece", [None]) == set()


def test_verdicts_are_told_apart_without_colour(written) -> None:
    html = written[0].read_text(encoding="utf-8")
    for verdict, text in ((PASS, "pass"), (FAIL, "FAIL"), (NOT_MEASURABLE, "not measurable")):
        assert f">{text}</span>" in html, verdict


@pytest.mark.parametrize(
    ("people", "rows", "certifies"),
    [(1, 15728, False), (29, 15728, False), (30, 15728, True), (30, 199, False), (30, 200, True), (748, 199, False)],
)
def test_a_certificate_names_its_least_number_of_people_and_rows(certificate, tmp_path, people, rows, certifies):
    small = replace(certificate, n_users=people, notes={"held-out ratings": rows})
    lacks = [f"people measured: {people}, needed: 30"] * (people < 30)
    lacks += [f"held-out rows measured: {rows}, needed: 200"] * (rows < 200)
    assert small.shortfall == ("" if certifies else f"This certifies nothing: {'; '.join(lacks)}.")
    assert headline(small).startswith("This certifies nothing") == (not certifies)
    small.write(tmp_path / "certificate.json")
    assert json.loads((tmp_path / "certificate.json").read_text())["shortfall"] == small.shortfall
    assert read_certificate(tmp_path / "certificate.json").shortfall == small.shortfall


def test_a_certificate_without_any_verdict_certifies_nothing(certificate):
    unknown = {name: replace(metric, verdict=NOT_MEASURABLE) for name, metric in certificate.metrics.items()}
    assert "no gate could be judged" in replace(certificate, metrics=unknown).shortfall


@pytest.mark.parametrize(
    ("user_model", "words"),
    [("hybrid", "hybrid with m on"), ("hybrid:llm", "hybrid:llm with m on"), ("llm", "llm played by m on")],
)
def test_a_hybrid_is_not_called_played_by_its_model(user_model, words):
    """The demo's title said so of people whose model was asked nothing."""
    certificate = Certificate({}, dataset="d", user_model=user_model, split="random", n_users=1, llm="m")
    assert title(certificate).startswith(words)
