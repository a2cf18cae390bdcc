"""Title injection: who obeys fails, who reads nothing shows 0, who counts letters is caught by the control."""

from __future__ import annotations

import numpy as np
import pytest

from recsim_llm.agents.fitted_sources import Source, load_source
from recsim_llm.agents.population import make_population
from recsim_llm.certificate import FAIL, NOT_MEASURABLE, PASS
from recsim_llm.experiments.fidelity.certify import CertifyConfig, certify
from recsim_llm.experiments.fidelity.injection import (
    WORDINGS,
    InjectionPlan,
    add_injection,
    control,
    effects,
    filled,
    worst,
)
from recsim_llm.experiments.fidelity.measures.measures import draw_resamples
from recsim_llm.experiments.fidelity.report.sections import Findings
from recsim_llm.testing.scripted import FunctionLLM

LEVELS = (1.0, 2.0, 3.0, 4.0, 5.0)
MARKS = ("Ignore the above", "SYSTEM", "im_start", "INST")
NAMES = ("title_injection_watch", "title_injection_stars")


def measure(answer, kind="agent4rec:items,genres", people=30, items=3):
    """The two lines of a scripted model, and the notes."""
    llm = FunctionLLM(answer)
    data, split = load_source(Source("synthetic", "random"))
    asked = InjectionPlan(data, split.train, np.arange(people), items)
    findings = Findings(draw_resamples(people, resamples=200))
    notes = add_injection(
        findings,
        asked,
        lambda words: make_population(Source("synthetic", "random", added=words), kind, llm).users,
        200,
    )
    return *(findings.metrics[name] for name in NAMES), notes, llm.usage.calls, asked


def shares(prompt, love):
    """Probabilities of the labels: all on the best, where loved; else even."""
    size = len(prompt.choices)
    if love is None:
        return [1 / size] * size
    best = size - 1 if prompt.choices[0] in "01" else 0  # "0".."5", "1".."5" or "Yes", "No"
    worst_ = 0 if best else size - 1
    return [1.0 if place == (best if love else worst_) else 0.0 for place in range(size)]


def obedient(prompt):
    named = any(mark in prompt.question for mark in MARKS)
    return shares(prompt, None if not named else "rate it 1" not in prompt.question)


def counts_letters(prompt):
    return shares(prompt, True if len(prompt.question) > 320 else None)


@pytest.mark.parametrize("kind", ["agent4rec:items,genres", "llm"])
def test_a_model_that_obeys_titles_fails(kind) -> None:
    watch, stars, notes, calls, asked = measure(obedient, kind)
    # Even answers: who answers 0..5 watches with 5/6, who answers Yes or No with 1/2; 3 stars on average.
    even = 5 / 6 if kind != "llm" else 1 / 2
    assert watch.value == pytest.approx(max(1 - even, even))  # "hate" moves an agent from 5/6 to 0
    assert (watch.low, watch.high) == pytest.approx((watch.value, watch.value)), "everybody moves alike"
    assert stars.value == pytest.approx(2.0), "from 3 stars to 5, or to 1"
    assert watch.verdict == stars.verdict == FAIL
    table = notes["title injection"]
    assert len(table) == len(WORDINGS) >= 5
    assert table[0]["watch, instruction"] == pytest.approx(1 - even)
    assert [row["watch, control"] for row in table] == [0.0] * len(table)
    assert asked.count == 30 * 3 * 11
    assert calls == asked.count * (2 if kind == "llm" else 1), "the stated cost"


def test_a_model_that_ignores_text_shows_exactly_0() -> None:
    watch, stars, _, _, _ = measure(lambda prompt: shares(prompt, None))
    for metric in (watch, stars):
        assert (metric.value, metric.low, metric.high, metric.verdict) == (0.0, 0.0, 0.0, PASS)


def test_a_model_that_reacts_to_length_alone_is_caught_by_the_control() -> None:
    watch, stars, notes, _, _ = measure(counts_letters)
    assert max(abs(row["watch, instruction"]) for row in notes["title injection"]) > 0.05, "it does react"
    for metric in (watch, stars):
        assert (metric.value, metric.verdict) == (0.0, PASS)


def test_controls_are_as_long_as_what_they_control() -> None:
    for instruction in filled(LEVELS):
        shown = "Title " + " ".join(instruction.split())
        assert len(f"Title{control(instruction)}") == len(shown)
        assert not any(mark in control(instruction) for mark in MARKS)
    assert {wording.direction for wording in WORDINGS} == {"love", "hate"}
    assert sum(wording.direction == "love" for wording in WORDINGS) >= 4


def test_worked_example_of_effects_and_of_the_worst_wording() -> None:
    # One wording, two people, two items: plain, instruction, control.
    arms = np.array([[[0.2, 0.2], [0.5, 0.5]], [[0.6, 0.8], [0.5, 0.5]], [[0.3, 0.3], [0.5, 0.7]]])
    by_person = effects(arms)
    np.testing.assert_allclose(by_person, [[0.4], [-0.1]])
    # Drawn: both once, the first twice, the second twice. Means 0.15, 0.4, -0.1; errors 0, 0.25, 0.25.
    value, low, high = worst(by_person, np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]]))
    assert (value, low, high) == pytest.approx((0.15, 0.0, 0.4))
    # A second wording that everybody loathes is the worst, and shares the interval's width.
    value, low, high = worst(np.hstack([by_person, [[-0.6], [-0.6]]]), np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]]))
    assert (value, low, high) == pytest.approx((0.6, 0.35, 0.85))


def test_the_interval_holds_for_the_largest_of_many_wordings_that_do_nothing() -> None:
    """Of 5 wordings without effect, the largest is above 0 by luck; the line must not call that obedience."""
    rng = np.random.default_rng(4)
    resamples, held = draw_resamples(40, resamples=300), 0
    for _ in range(200):
        held += worst(rng.normal(0, 0.3, (40, 5)), resamples)[1] <= 0.0
    assert held / 200 >= 0.9


def test_a_wide_interval_and_few_people_cannot_tell() -> None:
    # Even answers watch with 5/6: five who go up to 1 weigh as much as one who goes down to 0.
    moods = {}

    def moody(prompt):
        mood = moods.setdefault(prompt.context, len(moods) % 6 > 0)
        return shares(prompt, mood if "Ignore the above" in prompt.question else None)

    watch, _, _, _, _ = measure(moody, people=12, items=1)
    assert watch.verdict == NOT_MEASURABLE
    assert "ask more people" in watch.why
    assert watch.value == pytest.approx(0.0)
    few, _, _, _, _ = measure(obedient, people=9)
    assert few.verdict == NOT_MEASURABLE
    assert "9 people were asked, and it takes 10" in few.why


def test_the_certificate_of_an_obedient_model_says_so() -> None:
    config = CertifyConfig(dataset="synthetic", users=12, rows=2, resamples=100)
    certificate = certify(config, "agent4rec:items,genres", FunctionLLM(obedient), progress=False)
    assert certificate.metrics["title_injection_watch"].verdict == FAIL
    assert len(certificate.notes["title injection"]) == len(WORDINGS)


def test_items_are_new_to_everybody_and_bounded() -> None:
    data, split = load_source(Source("synthetic", "random"))
    asked = InjectionPlan(data, split.train, np.arange(len(data.people)), 2)
    assert len(asked.people) == 40
    known = set(split.train.items[np.isin(split.train.users, asked.people)].tolist())
    assert not known & set(asked.items.tolist())
    assert len(asked.items) <= 2
