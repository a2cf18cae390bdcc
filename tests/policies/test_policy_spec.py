"""Policies as lines of text: names with options, and files."""

from __future__ import annotations

import pytest

from recsim_llm.errors import ConfigError
from recsim_llm.policies import check_policy, make_policy, open_policy
from recsim_llm.policies.policy_spec import parse_policy
from recsim_llm.testing.policy_contract import ITEMS, catalogue, two_tastes_log


@pytest.mark.parametrize("text", ["", "?reg=1", "ease:500", "ease?reg", "ease?reg=1&reg=2", "nobody"])
def test_what_is_no_policy_is_refused(text):
    with pytest.raises(ConfigError):
        check_policy(text)


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigError, match="recsim-llm train"):
        check_policy(str(tmp_path / "dqn.npz"))


def test_options_reach_the_policy():
    log, items = two_tastes_log(), catalogue()
    ours = open_policy("ease?reg=3.5", log, items, 4)
    assert (ours.fitted["weights"] == make_policy("ease", log, items, 4, reg=3.5).fitted["weights"]).all()
    with pytest.raises(ConfigError, match="regularisation"):
        open_policy("ease?regularisation=3", log, items, 4)


def test_a_file_is_opened_for_any_page_size(tmp_path):
    log, items = two_tastes_log(), catalogue()
    make_policy("ease", log, items, 4).save(tmp_path / "mine.npz")
    policy = open_policy(str(tmp_path / "mine.npz"), log, items, 2)
    assert policy.page_size == 2
    assert parse_policy(str(tmp_path / "mine.npz")).label == "mine"
    with pytest.raises(ConfigError):
        open_policy(str(tmp_path / "mine.npz"), log, items, ITEMS + 1)


def test_labels_are_names_of_folders():
    assert parse_policy("billp?macro=false&micro=true").label == "billp,macro=False,micro=True"
    assert "/" not in parse_policy("als?path=a/b").label
