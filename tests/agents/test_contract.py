"""All user models keep the contract, and all agent kinds that of a society's inhabitants too."""

from __future__ import annotations

import re

from recsim_llm.agents.llm.kind_registry import AGENT_KINDS
from recsim_llm.agents.named_users import USER_MODELS
from recsim_llm.agents.population import make_population
from recsim_llm.testing.inhabitants_contract import InhabitantsContract
from recsim_llm.testing.scripted import hash_choice_llm
from recsim_llm.testing.user_model_contract import UserModelContract


class TestStatistical(UserModelContract):
    def make(self):
        return make_population("synthetic", "statistical").users


class TestLLM(UserModelContract):
    def make(self):
        return make_population("synthetic", "llm", hash_choice_llm(0)).users


class TestLLMTuned(UserModelContract):
    def make(self):
        return make_population("synthetic", "llm:tuned", hash_choice_llm(0)).users


class TestLLMTunedPublic(UserModelContract):
    def make(self):
        return make_population("synthetic", "llm:tuned-public", hash_choice_llm(0)).users


class KindContract(UserModelContract, InhabitantsContract):
    """What every agent kind keeps; a new kind is three more lines below."""

    kind = ""

    def make(self):
        return make_population("synthetic", self.kind, hash_choice_llm(0)).users

    inhabitants = make


class TestAgent4Rec(KindContract):
    kind = "agent4rec"


class TestAgent4RecInText(KindContract):
    kind = "agent4rec:text"


class TestRecAgent(KindContract):
    kind = "recagent"


class TestAgentCF(KindContract):
    kind = "agentcf"


class TestDialogue(KindContract):
    kind = "dialogue"


def test_every_user_model_and_kind_has_a_contract():
    kept = {cls.__name__.removeprefix("Test").lower() for cls in (*UserModelContract.__subclasses__(), KindContract)}
    assert {re.sub(r"\W", "", name) for name in USER_MODELS} <= kept
    assert {cls.kind.partition(":")[0] for cls in KindContract.__subclasses__()} == set(AGENT_KINDS)
