"""The parts of benchmarks that say something without being timed."""

from __future__ import annotations

import json

import pytest

from benchmarks.__main__ import keep
from benchmarks.gpu import measure, peak_flops
from benchmarks.table import Row
from recsim_llm.testing.scripted import hash_choice_llm
from recsim_llm.types import Prompt


def test_rows_are_kept_as_json(tmp_path):
    keep("one", [Row("thing", 6.0, "things/s", "5x", 2.0, "a peer"), Row("size", 2.0, "MB")], tmp_path / "results")
    kept = json.loads((tmp_path / "results" / "one.json").read_text("utf-8"))
    assert [row["ratio"] for row in kept["rows"]] == [3.0, None]
    assert kept["rows"][0]["measure"] == "thing"
    assert "cores" in kept["machine"]


def test_nothing_measured_is_nothing_kept(tmp_path):
    keep("none", [], tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("device", "peak"), [("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA L4", 121e12), ("NVIDIA L40S", 362e12), ("x", None)]
)
def test_peaks_are_found_by_name(device, peak):
    assert peak_flops(device) == peak


def test_what_cannot_be_known_is_said():
    prompts = [Prompt("", "", f"{i}?", ("Yes", "No")) for i in range(30)]
    decisions, *left_out = measure(hash_choice_llm(0), prompts, "here", None, 10)
    assert decisions.ours > 0
    assert any("the peak of this device is not in" in str(sentence) for sentence in left_out)
    known = list(measure(hash_choice_llm(0), prompts, "here", 1e12, 10))
    assert any("roofline" in row.measure for row in known if isinstance(row, Row))
