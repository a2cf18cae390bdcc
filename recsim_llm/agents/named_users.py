"""Builds users from the name of a user model: statistical, language-model agents, and those made of both."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache

import numpy as np

from recsim_llm.agents.certified import fingerprint
from recsim_llm.agents.fitted_sources import (
    Source,
    fitted_parameters,
    load_source,
    personas,
    statistical_parameters,
    training_counts,
    with_activity,
)
from recsim_llm.agents.hybrid.calibration import CalibratedInhabitants, CalibratedUsers
from recsim_llm.agents.hybrid.hybrid_users import HybridInhabitants, HybridUsers
from recsim_llm.agents.hybrid.learned import Identity, Learned, find_learned
from recsim_llm.agents.llm.agent_users import AgentUsers
from recsim_llm.agents.llm.kind_registry import AGENT_KINDS, Material, kind_texts
from recsim_llm.agents.llm.kind_texts import KindTexts
from recsim_llm.agents.llm.llm_users import LLMUsers
from recsim_llm.agents.llm.page_texts import PageTexts
from recsim_llm.agents.llm.prompts_text import phrases
from recsim_llm.agents.llm.thoughts import Thinker
from recsim_llm.agents.long_term.long_term_users import LongTermUsers
from recsim_llm.agents.own_users import OwnUsers, find_own, make_own, own_names
from recsim_llm.agents.personas.public_ratings import public_ratings
from recsim_llm.agents.personas.rated_history import rated_history
from recsim_llm.agents.society.inhabitants import Inhabitants
from recsim_llm.agents.society.social_turns import SocialTexts
from recsim_llm.agents.society.statistical_inhabitants import StatisticalInhabitants
from recsim_llm.agents.statistical.statistical_users import StatisticalUsers
from recsim_llm.agents.user_model import UserModel
from recsim_llm.checked import Name, check_value, near, shown
from recsim_llm.data.dataset import Catalogue
from recsim_llm.errors import ConfigError
from recsim_llm.language.encoders import TextEncoder, make_encoder
from recsim_llm.language.protocol import LLM
from recsim_llm.plugins import OBJECT, running_plugin
from recsim_llm.runs.step_notes import Remembered, Thought
from recsim_llm.spec import Spec, first_name, parse_spec, split_name, without_options

WRAPPERS = {
    "hybrid": "Formulas, corrected by what a language model says where held-out people show that it helps.",
    "calibrated": "A language model's people, their answers calibrated to held-out people.",
}
"""User models that wrap another one, named after a colon ("hybrid:agent4rec:items"; default: "llm"), and what
each is. 'recsim-llm calibrate' learns the numbers first."""


def is_built_in(user_model: str) -> bool:
    """Whether the first word of a name is built in; ignores what follows a colon.

    >>> is_built_in("agent4rec:items"), is_built_in("my_module:MyUsers")
    (True, False)
    """
    name = first_name(user_model)
    return name in WRAPPERS or name in AGENT_KINDS or name in set(map(first_name, USER_MODELS))


def uses_llm(user_model: str) -> bool:
    """Whether a user model of this name asks a language model; plug-ins declare it themselves (`asks_llm`).

    Raises:
        ConfigError: It is not built in, and cannot be imported.
    """
    if is_built_in(user_model) or user_model.startswith(OBJECT):
        return is_built_in(user_model) and user_model != "statistical"
    return _own(user_model).asks_llm


def has_memories(user_model: str) -> bool:
    """Whether agents with memories play these people, so that one can be restored and interviewed."""
    played = inner_name(user_model) if first_name(user_model) in WRAPPERS else user_model
    if is_built_in(played) or played.startswith(OBJECT):
        return first_name(played) in AGENT_KINDS
    return _own(played).is_kind


def brought_name(user_model: str) -> str:
    """The name of a plug-in user model or kind, alone or inside a wrapper; "" for built-in ones.

    Nothing is looked up or imported.

    >>> brought_name("hybrid:my_module:MyKind?k=5"), brought_name("hybrid:agent4rec:items")
    ('my_module:MyKind', '')
    """
    played = unwrapped(user_model)
    return "" if not played or is_built_in(played) else without_options(played)


def unwrapped(user_model: str) -> str:
    """The name of the user model inside all wrappers; "" for a wrapper that names none.

    >>> unwrapped("hybrid:agent4rec:items"), unwrapped("hybrid"), unwrapped("statistical")
    ('agent4rec:items', '', 'statistical')
    """
    name, inner = split_name(user_model)
    while name in WRAPPERS:
        name, inner = split_name(user_model := inner)
    return user_model


def own_texts(user_model: str) -> KindTexts | None:
    """The prompt texts of a built-in kind, alone or inside a wrapper; None for other user models.

    Raises:
        ConfigError: The name cannot be parsed, or the texts of its folder break a rule.
    """
    played = unwrapped(user_model)
    if first_name(played) not in AGENT_KINDS:
        return None
    spec = parse_spec(played)
    return kind_texts(spec.kind, spec.options)


def inner_name(user_model: str) -> str:
    """The user model that a language model plays in "hybrid", "hybrid:KIND" and the like.

    Raises:
        ConfigError: It does not wrap another one.

    >>> inner_name("hybrid:agent4rec:items"), inner_name("hybrid")
    ('agent4rec:items', 'llm')
    """
    name, inner = split_name(user_model)
    if name not in WRAPPERS or first_name(inner) in (*WRAPPERS, "statistical"):
        raise ConfigError(
            f"The user model {shown(user_model)} is not made of another one: write hybrid:KIND or calibrated:KIND, "
            f"KIND one of llm, {', '.join(AGENT_KINDS)}."
        )
    return inner or "llm"


def check_user_model(user_model: str) -> None:
    """Refuse an unknown name, before a model is loaded or paid for.

    Raises:
        ConfigError: There is no such user model.
    """
    check_value("user_model", user_model, Name)
    name = first_name(user_model)
    if user_model.endswith((":", "?")):
        raise ConfigError(
            f"The user model {shown(user_model)} ends with '{user_model[-1]}': leave it out, or name what is behind."
        )
    if name in AGENT_KINDS:
        own_texts(user_model)
    if name in {"statistical", "llm"} and "?" in user_model:
        raise ConfigError(f"The user model {shown(user_model)}: '{name}' has no options behind a question mark.")
    if name in WRAPPERS:
        check_user_model(inner_name(user_model))
        if not uses_llm(inner_name(user_model)):
            raise ConfigError(f"{shown(user_model)}: these people ask no language model. Leave out '{name}:'.")
    elif user_model.startswith(OBJECT):
        raise ConfigError(
            f"These people were a Python object of {user_model.removeprefix(OBJECT)}, which only Python can hand over "
            "again: replay(run, users=...), simulate(config, out, users=...)."
        )
    elif name not in AGENT_KINDS and user_model not in USER_MODELS:
        _own(user_model)


def _own(user_model: str) -> OwnUsers:
    found = None if is_built_in(user_model) else find_own(user_model)
    if found is None:
        known = [*USER_MODELS, *AGENT_KINDS, *WRAPPERS, *own_names()]
        raise ConfigError(
            f"There is no user model {shown(user_model)}.{near(user_model, known)} User models: {', '.join(known)}."
        )
    return found


def make_users(
    source: Source,
    user_model: str,
    llm: LLM | None,
    encoder: str | TextEncoder,
    personas_file: str,
    learned: Learned | None = None,
) -> UserModel:
    """Build the users of a name (`population.make_population` lists the names).

    Raises:
        ConfigError: No such user model, an LLM is missing, the data set lacks what it needs, or the language model has
            not been calibrated.
    """
    check_user_model(user_model)
    name = first_name(user_model)
    if name in WRAPPERS:
        return _wrapped(source, name, user_model, llm, encoder, personas_file, learned)
    if name in AGENT_KINDS:
        return _agents(source, parse_spec(user_model), llm, encoder, personas_file)
    if user_model not in USER_MODELS:
        data, split = load_source(source)
        encoder = make_encoder(encoder) if isinstance(encoder, str) else encoder
        material = Material(data, split.train, personas(source, personas_file), encoder, llm=llm)
        return make_own(_own(user_model), material)
    return USER_MODELS[user_model](source, llm, personas_file)


def _wrapped(
    source: Source,
    name: str,
    user_model: str,
    llm: LLM | None,
    encoder: str | TextEncoder,
    personas_file: str,
    learned: Learned | None,
) -> UserModel:
    inner = make_users(source, inner_name(user_model), llm, encoder, personas_file)
    if learned is None:
        assert llm is not None, "the inner users have checked it"
        learned = find_learned(learned_identity(source, user_model, llm.name), source.dataset)
    if name == "calibrated":
        if isinstance(inner, Inhabitants):
            return CalibratedInhabitants(inner, learned.calibration)
        return CalibratedUsers(inner, learned.calibration)
    data, split = load_source(source)
    parameters = with_activity(fitted_parameters(source), source, personas_file)
    counts = training_counts(split.train)
    if isinstance(inner, Inhabitants):
        people = personas(source, personas_file)
        lives = StatisticalInhabitants(parameters, data.catalogue, people)
        return HybridInhabitants(lives, inner, learned.weights, *counts)
    return HybridUsers(StatisticalUsers(parameters), inner, learned.weights, *counts)


def played_by_llm(users: UserModel) -> UserModel:
    """The users played by the language model, inside a quit rule, a hybrid or a calibration."""
    while isinstance(users, LongTermUsers | HybridUsers | CalibratedUsers):
        users = users.inner
    return users


def think_aloud(users: UserModel, catalogue: Catalogue) -> None:
    """Let users played by a language model say what they think of each page, after their choice.

    Raises:
        ConfigError: No language model plays them.
    """
    players = played_by_llm(users)
    if not isinstance(players, LLMUsers | AgentUsers):
        raise ConfigError(
            "Thoughts (--thoughts page) are written by a language model, and these people are formulas: add --llm, or "
            "name another --user-model."
        )
    players.thinker = Thinker(catalogue, float(users.rating_levels[-1]))


def keep_thoughts(users: UserModel) -> list[Thought]:
    """A list that receives everything a language model writes about pages from now on; stays [] for formulas."""
    players, thoughts = played_by_llm(users), list[Thought]()
    if isinstance(players, LLMUsers | AgentUsers):
        players.thoughts = thoughts
    return thoughts


def agents_of(users: UserModel) -> AgentUsers | None:
    """The agents with memories, inside any wrapper; None where people have no memories to restore."""
    players = played_by_llm(users)
    return players if isinstance(players, AgentUsers) else None


def keep_memories(users: UserModel) -> list[Remembered]:
    """A list that receives everything that enters memories from now on; stays [] for people without memories."""
    agents, notebook = agents_of(users), list[Remembered]()
    if agents is not None:
        agents.notebook = notebook
    return notebook


def learned_identity(dataset: str | Source, user_model: str, llm_name: str) -> Identity:
    """The identity that the learned numbers of a "hybrid" or "calibrated" user model must have."""
    inner = inner_name(user_model)
    source = dataset if isinstance(dataset, Source) else Source(dataset)
    data = load_source(source.untouched)[0]
    return Identity(llm_name, inner, data.checksum, model_fingerprint(inner, data.catalogue))


def model_fingerprint(user_model: str, catalogue: Catalogue | None = None) -> str:
    """The current fingerprint of a user model (`agents.certified.fingerprint`), whatever data and language model.

    Args:
        user_model: Its name.
        catalogue: The catalogue to be used: decides whether texts are shown as they are or in quotes. None: as they
            are.
    """
    texts = own_texts(user_model)
    checksum = texts.checksum if texts else ""
    made_of = _fingerprint(user_model, catalogue is None or catalogue.is_vouched, checksum)
    # The fingerprint asks only some of a kind's questions; its own texts count all.
    return f"{made_of}-{checksum}" if checksum else made_of


@lru_cache(maxsize=32)
def _fingerprint(user_model: str, as_they_are: bool, checksum: str) -> str:
    """The hash of prompts and answers; `checksum` only tells a folder's texts of today from those of before."""
    world = Source("synthetic") if as_they_are else Source("synthetic", added=((0, ""),))
    if first_name(user_model) in WRAPPERS:
        parts = ("statistical", inner_name(user_model))
        return "-".join(_fingerprint(part, as_they_are, checksum) for part in parts)

    def make(llm: LLM) -> UserModel:
        if user_model == "statistical":
            return StatisticalUsers(fitted_parameters(world))
        return make_users(world, user_model, llm, "hash", "")

    with nullcontext() if is_built_in(user_model) else running_plugin(user_model):
        return fingerprint(make)


def _statistical(dataset: str | Source, llm: LLM | None, personas_file: str) -> UserModel:
    """Formulas, fitted to the log in seconds; no language model is asked."""
    return StatisticalUsers(with_activity(statistical_parameters(dataset), dataset, personas_file))


def _llm(dataset: str | Source, llm: LLM | None, personas_file: str, prompts: str = "page") -> UserModel:
    """A language model reads persona and page, and answers by the probabilities of labels; no memory."""
    if llm is None:
        raise ConfigError("LLM users need a model: --llm transformers:smollm2-135m, for example (llm=... in Python).")
    data, split = load_source(dataset)
    people = personas(dataset, personas_file)
    told = phrases(prompts)
    history = rated_history(split.train) if "history" in told else None
    public = public_ratings(split.train) if "public" in told else None
    texts = PageTexts(data.catalogue, people, data.rating_levels, prompts, history, public)
    return LLMUsers(llm, data.catalogue, people, data.rating_levels, texts)


def _tuned(dataset: str | Source, llm: LLM | None, personas_file: str) -> UserModel:
    """As llm, with the prompts that 'recsim-llm tune' teaches a model to answer."""
    return _llm(dataset, llm, personas_file, "tuned")


def _tuned_public(dataset: str | Source, llm: LLM | None, personas_file: str) -> UserModel:
    """As llm:tuned; prompts also tell how others rated an item ('recsim-llm tune --prompts tuned-public')."""
    return _llm(dataset, llm, personas_file, "tuned-public")


USER_MODELS: dict[str, Callable[[str | Source, LLM | None, str], UserModel]] = {
    "statistical": _statistical,
    "llm": _llm,
    "llm:tuned": _tuned,
    "llm:tuned-public": _tuned_public,
}


def _agents(
    dataset: str | Source, spec: Spec, llm: LLM | None, encoder: str | TextEncoder, personas_file: str
) -> AgentUsers:
    data, split = load_source(dataset)
    people = personas(dataset, personas_file)
    encoder = make_encoder(encoder) if isinstance(encoder, str) else encoder
    # Make the kind first, so that its errors come before a model is loaded.
    words = frozenset(filter(None, spec.model.split(",")))
    kind = AGENT_KINDS[spec.kind](Material(data, split.train, people, encoder, words, spec.options))
    if llm is None:
        raise ConfigError(f"{spec.kind} users need a model: --llm transformers:smollm2-135m, for example (llm=...).")
    social = SocialTexts(data.catalogue, people, float(data.rating_levels[-1]))
    return AgentUsers(llm, kind, social, np.array([p.activity for p in people], dtype=np.int64))
