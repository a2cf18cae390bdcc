"""What people say of themselves, written out: nobody outside `agents` asks for their class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recsim_llm.agents.hybrid.calibration import CalibratedUsers
from recsim_llm.agents.hybrid.hybrid_users import HybridUsers
from recsim_llm.agents.long_term.long_term_population import make_long_term
from recsim_llm.agents.named_users import agents_of, keep_memories
from recsim_llm.agents.population import make_population
from recsim_llm.agents.statistical.statistical_users import StatisticalUsers
from recsim_llm.agents.user_model import Description, ReturningUsers
from recsim_llm.testing.scripted import hash_choice_llm
from recsim_llm.types import Responses
from tests.agents.opinions import helpful, known
from tests.agents.test_calibration import some_link
from tests.agents.test_hybrid import all_cells


def lived(user_model: str):
    """Three people of a kind who have seen and watched one page."""
    users, people = make_population("synthetic", user_model, hash_choice_llm(0)).users, np.arange(3)
    users.reset(people, people, people.astype(np.uint64))
    pages, watched = np.arange(9).reshape(3, 3), np.ones((3, 3), dtype=np.bool_)
    users.observe(people, pages, Responses(watched, watched * 5.0))
    return users


def test_who_says_nothing_is_a_model_with_numbers_of_its_own():
    said = Description()
    assert said.origins == {
        "watch level": "the model's own",
        "examination (slots)": "the model's own",
        "leaving": "not fitted",
    }
    assert (said.asks_llm, said.counts, said.belief) == (True, {}, "")
    assert said.backbone is said.tastes is said.long_term is None


def test_statistical_people_tell_tastes_and_what_is_fitted():
    users = make_population("synthetic").users
    said = users.describe()
    assert said.tastes is users.parameters
    assert not said.asks_llm
    assert said.origins == {"watch level": "declared", "examination (slots)": "declared: none", "leaving": "declared"}
    fitted = StatisticalUsers(replace(users.parameters, examination=np.ones(4), leave_fitted=1.0)).describe()
    assert fitted.origins == {"watch level": "fitted", "examination (slots)": "fitted", "leaving": "fitted"}


def test_the_long_term_setting_adds_itself_and_keeps_the_tastes():
    users = make_long_term("synthetic", rule="window").users
    said = users.describe()
    assert said.long_term is users
    assert said.tastes is users.inner.parameters


@pytest.mark.parametrize(("weight", "asked"), [(0.0, False), (0.3, True)])
def test_a_hybrid_tells_whether_its_model_is_asked_and_hides_the_tastes(weight, asked):
    place = known(0)
    backbone = StatisticalUsers(place.backbone)
    weights = all_cells(place, weight)
    said = HybridUsers(backbone, helpful(place), weights, *place.counts).describe()
    assert said.asks_llm is asked
    assert said.belief == weights.sentence()
    assert said.backbone is backbone
    assert said.tastes is None, "the answers are not the backbone's alone"
    assert said.origins == backbone.describe().origins


def test_calibrated_answers_are_nobodys_tastes():
    said = CalibratedUsers(StatisticalUsers(known(0).backbone), some_link()).describe()
    assert said.tastes is None


def test_counts_are_those_of_a_runs_summary():
    plain, staged = lived("llm").describe().counts, lived("recagent").describe().counts
    assert list(plain) == ["answers"]
    assert list(staged) == ["answers", "memory"]
    assert plain["answers"]["asked"] == 3, "whether they leave"
    assert list(staged["memory"])[:2] == ["enhancement", "admitted"]
    assert list(lived("agent4rec").describe().counts) == ["answers"], "nothing moves in stages"


def test_only_agents_have_memories_to_keep():
    statistical, agents = make_population("synthetic").users, lived("agent4rec:items")
    assert agents_of(statistical) is None
    assert keep_memories(statistical) == []
    assert agents_of(agents) is agents
    notebook = keep_memories(agents)
    assert agents.notebook is notebook


def test_who_has_visits_comes_back():
    assert isinstance(make_population("synthetic").users, ReturningUsers)
    assert isinstance(lived("agent4rec"), ReturningUsers)
    assert not isinstance(lived("llm"), ReturningUsers)
