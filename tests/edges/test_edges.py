"""Every bad input is refused with a sentence that names it; every right one is taken. See docs/faults.md."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.edges.cases import GROUPS, all_cases
from tests.edges.good_cases import good_calls, good_commands
from tests.edges.judging import Case, judge
from tests.edges.places import make_places

FEWEST = 1_000


@pytest.fixture(scope="module", autouse=True)
def _here(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    home = tmp_path_factory.mktemp("home")
    patch.chdir(home)
    for name, value in {
        "RECSIM_LLM_HOME": str(home / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OPENAI_BASE_URL": "http://127.0.0.1:9",
    }.items():
        patch.setenv(name, value)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    found: dict[str, list[Case]] = defaultdict(list)
    for case in all_cases(tmp_path_factory.mktemp("edges") / "places"):
        found[case.group].append(case)
    return found


@pytest.mark.parametrize("group", GROUPS)
def test_bad_inputs_are_refused_with_a_sentence(cases, group):
    # Every other one of the many that are made from types; all in the slow check and in `python -m tests.edges`.
    chosen = [case for i, case in enumerate(cases[group]) if i % 2 == 0 or not case.made]
    assert not faults(chosen)


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_all_bad_inputs_are_refused_with_a_sentence(cases, group):
    assert not faults(cases[group])


def faults(cases):
    judged = [(case.label, judge(case)) for case in cases]
    return [pair for pair in judged if pair[1].verdict != "refused"]


def test_no_group_is_left_out_and_there_are_many(cases):
    assert sorted(cases) == sorted(GROUPS)
    assert sum(map(len, cases.values())) >= FEWEST
    in_text = [case for group in cases.values() for case in group if not callable(case.action)]
    assert len([case for i, case in enumerate(in_text) if i % 2 == 0 or not case.made]) >= 400


def test_right_command_lines_are_taken(tmp_path):
    good = list(good_commands(make_places(tmp_path)))
    assert len(good) >= 15
    wrong = [(case.label, outcome) for case in good if (outcome := judge(case, 60)).verdict != "silent"]
    assert not wrong


def test_right_calls_are_taken():
    wrong = [(case.label, outcome) for case in good_calls() if (outcome := judge(case, 60)).verdict != "silent"]
    assert not wrong


def test_the_judge_finds_each_kind_of_fault():
    def raises(error):
        def act():
            raise error

        return act

    from recsim_llm.errors import ConfigError

    def verdict(action, value=""):
        return judge(Case("x", "x", action, ("--pages",), value), 1.0).verdict

    assert verdict(raises(ValueError("--pages must be between 1 and 10,000, not -1."))) == "traceback"
    assert verdict(raises(ConfigError("--pages must be between 1 and 10,000, not -1.")), "-1") == "refused"
    assert verdict(raises(ConfigError("--pages must be between 1 and 10,000, not -1.")), "77") == "unclear"
    assert verdict(raises(ConfigError("--users must be between 1 and 10,000, not -1."))) == "unclear"
    assert verdict(raises(ConfigError("--pages is wrong."))) == "unclear"
    assert verdict(lambda: None) == "silent"
    assert verdict(lambda: [None for _ in iter(int, 1)]) == "silent"
    assert verdict(["simulate", "--pages", "0"], "0") == "refused"
    assert verdict(["simulate", "--users", "0"], "0") == "unclear"
