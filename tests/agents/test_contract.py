"""All user models keep the contract."""

from __future__ import annotations

from recsim_llm.agents.population import USER_MODELS, make_population
from recsim_llm.testing.scripted import hash_choice_llm
from recsim_llm.testing.user_model_contract import UserModelContract


class TestStatistical(UserModelContract):
    def make(self):
        return make_population("synthetic", "statistical").users


class TestLLM(UserModelContract):
    def make(self):
        return make_population("synthetic", "llm", hash_choice_llm(0)).users


def test_every_user_model_has_a_contract():
    kept = {cls.__name__.removeprefix("Test").lower() for cls in UserModelContract.__subclasses__()}
    assert kept == set(USER_MODELS)
