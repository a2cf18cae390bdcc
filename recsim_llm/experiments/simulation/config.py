"""Options of a simulation: one frozen dataclass, shared by the command line, a run's manifest and the Python call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, Literal

import tyro
from annotated_types import Ge, Le

from recsim_llm.agents.long_term.long_term_population import rule_line, rule_of, rule_of_older
from recsim_llm.agents.named_users import check_user_model, uses_llm
from recsim_llm.agents.society.statistical_inhabitants import Exposure, SocialHabits, WordOfMouth
from recsim_llm.checked import Count, CountOrNone, Name, Seed, Share, Text, check_fields, option_of
from recsim_llm.environments.sessions import MOST_ITEMS, MOST_PAGES, PageRules, long_history
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.language.encoders import check_encoder
from recsim_llm.policies import asks_llm, check_policy
from recsim_llm.policies.policy_spec import parse_policy
from recsim_llm.policies.rl.offline.dorl import DORL, NEEDS_TASK
from recsim_llm.runs import Run
from recsim_llm.spec import first_name, refuse_secrets

DEFAULT_LLM = "transformers:smollm2-135m"
_HABITS = SocialHabits()
HABITS = ("word_of_mouth", "seek", "conformity", "exposure")
"""Options that are fields of `SocialHabits`."""


@dataclass(frozen=True, slots=True)
class SimulationConfig:
    """Options of a simulation. Two runs of one config give the same steps.

    Attributes:
        dataset: A data set's name ('recsim-llm data list') or a folder.
        user_model: 'statistical' (arrays, very fast; the default), 'hybrid' (the same people, with a language model
            where it was found to add information; the default with --llm), or uncalibrated language-model agents:
            'agent4rec', 'recagent', 'agentcf', 'dialogue' (the cheapest), 'llm' (the plainest), 'calibrated:KIND'.
            Options follow a colon: 'hybrid:agent4rec:items', 'agentcf:FOLDER' (docs/agents, docs/hybrid.md). Your
            own: 'my_module:MyUsers?option=value' (docs/plugins.md).
        llm: Backend of LLM users: transformers:NAME_OR_FOLDER, openai:MODEL, or uniform (a stand-in); default for them:
            transformers:smollm2-135m.
        policies: Policies to compare; each gets its own run over the same users and the same random numbers. A name, a
            name with options ('ease?reg=100'), the file of a trained policy (docs/policies.md), or a class of your own
            ('my_module:MyPolicy?k=5', docs/plugins.md).
        policy_llm: Backend of policies that ask a language model; default: that of the users, or
            transformers:smollm2-135m.
        quit: '' for people who leave of their own accord; 'window' for BiLLP's setting, in which everything shown is
            taken up and people leave by a rule ('window?nearest=0.2&ratings=sampled'; docs/long_term.md).
        tell_exit: With quit: whether all planners are told the rule, in their system prompts (docs/policies.md).
        users: Number of people who visit, one session each; with rounds, number of people who live in the society.
        pages: Pages after which a session is cut off.
        page_size: Items per page.
        reward: 'rating' (sum of stars of watched items), 'watch' (their number), or your own as module:function.
        seed: Seed for the choice of visitors and all sampling.
        batch_size: Concurrent sessions; changes speed and memory, not the results (except with learning policies).
        rounds: 0: separate sessions. N: a society that lives for N rounds of simulated time.
        graph: Who knows whom in a society: homophily, homophily:20, barabasi-albert:3, watts-strogatz:10,0.1, none, or
            a CSV file.
        interventions: A TOML file of interventions by date (docs/interventions.md); each policy then gets a second run
            without them, on the same random numbers.
        word_of_mouth: Log-odds of watching that one message about an item adds or takes off, 0 to 10, in a society of
            statistical or hybrid people (this holds for the next three too; see docs/society.md for their effects).
        seek: Probability that a search is for the title that others praised most, 0 to 1.
        conformity: Shift in stars towards the mean rating heard from others, per star of difference, 0 to 1.
        exposure: Log-odds of watching for each earlier page with the item, -5 to 5.
        encoder: Encoder of memories as vectors: 'hash', 'minilm', or a sentence-transformers folder.
        thoughts: 'page': people played by a language model say in a sentence what they think of each page, after
            choosing; for human readers, without any effect (docs/agents). 'none': nobody is asked.
        personas: A JSON file with your own people (in the form of a run's people.json); default: from ratings.
    """

    dataset: Name = "synthetic"
    user_model: Text = ""
    llm: Text = ""
    policies: Annotated[tuple[Name, ...], tyro.conf.arg(name="policy")] = ("random", "popularity", "ease")
    users: Count = 100
    pages: Annotated[int, Ge(1), Le(MOST_PAGES)] = 5
    page_size: Annotated[int, Ge(1), Le(MOST_ITEMS)] = 10
    reward: Name = "rating"
    seed: Seed = 0
    batch_size: Count = 256
    rounds: CountOrNone = 0
    graph: Name = "homophily"
    interventions: Text = ""
    word_of_mouth: WordOfMouth = _HABITS.word_of_mouth
    seek: Share = _HABITS.seek
    conformity: Share = _HABITS.conformity
    exposure: Exposure = _HABITS.exposure
    encoder: Name = "hash"
    personas: Text = ""
    policy_llm: Text = ""
    quit: Text = ""
    tell_exit: bool = False
    thoughts: Literal["none", "page"] = "none"

    def check(self) -> None:
        """Check the options.

        Not on construction, where the command line's parser would wrap the sentence in its own.

        Raises:
            ConfigError: No such user model or policy, a number out of range, or a key in a language-model spec.
        """
        for line in (self.llm, self.policy_llm):
            refuse_secrets(line)
        check_fields(self)
        check_user_model(self.chosen.user_model)
        check_encoder(self.encoder)
        labels = [check_policy(policy).label for policy in self.policies]
        if not labels or len(set(labels)) < len(labels):
            raise ConfigError(f"Name at least one policy, and none twice; got {', '.join(labels) or 'none'}.")
        if self.quit:
            rule_of(self.quit)
            if self.rounds:
                raise ConfigError("In a society people leave of their own accord: drop --quit, or --rounds.")
        elif any(map(wants_task, self.policies)):
            raise ConfigError(f"Policy '{next(filter(wants_task, self.policies))}': {NEEDS_TASK}")
        if self.habits is not None and not (self.rounds and _has_habits(self.chosen.user_model)):
            pairs = ((name, getattr(self, name)) for name in HABITS)
            given = [f"{option_of(name)} {value:g}" for name, value in pairs if value != getattr(_HABITS, name)]
            raise ConfigError(
                f"{', '.join(given)}: only statistical and hybrid people "
                "in a society have such habits. Take them and --rounds N, or leave this out."
            )
        if self.thoughts != "none" and not self.asks_llm:
            raise ConfigError(
                f"--thoughts {self.thoughts}: thoughts are written by a language model, and '{self.chosen.user_model}' "
                "people are formulas: add --llm, or drop --thoughts."
            )
        told = [policy for policy in self.policies if parse_policy(policy).options.get("tell_exit")]
        if (self.tell_exit or told) and not self.quit:
            raise ConfigError(
                f"{told[0] if told else '--tell-exit'}: planners can be told when people leave where a rule says so: "
                "add --quit window, or drop tell_exit."
            )
        if self.interventions and not self.rounds:
            raise ConfigError("Interventions have dates: they need a society (--rounds N).")
        _ = self.rules

    @property
    def habits(self) -> SocialHabits | None:
        """Social habits of statistical people; None for the declared defaults."""
        mine = SocialHabits(**{name: getattr(self, name) for name in HABITS})
        return None if mine == _HABITS else mine

    @property
    def asks_llm(self) -> bool:
        """Whether users are played by a language model."""
        return uses_llm(chosen_model(self.user_model, self.llm)[0])

    @property
    def policies_ask_llm(self) -> bool:
        """Whether a policy asks a language model."""
        return any(asks_llm(policy) for policy in self.policies)

    @property
    def chosen(self) -> SimulationConfig:
        """The config with user model, language models and every option of the quit rule filled in."""
        user_model, llm = chosen_model(self.user_model, self.llm)
        policy_llm = (self.policy_llm or llm or DEFAULT_LLM) if self.policies_ask_llm else ""
        quit_rule = rule_line(self.quit) if self.quit else ""
        return replace(self, user_model=user_model, llm=llm, policy_llm=policy_llm, quit=quit_rule)

    @property
    def rules(self) -> PageRules:
        """The rules of the environment."""
        rules = PageRules(page_size=self.page_size, max_pages=self.pages, reward=self.reward)
        return replace(rules, history_length=long_history(self.pages, self.page_size)) if self.quit else rules


def wants_task(policy: str) -> bool:
    """Whether a policy spec is trained with the exit rule of its setting."""
    spec = parse_policy(policy)
    return spec.name == DORL.name and spec.options.get("exit") == "task"


def chosen_model(user_model: str, llm: str) -> tuple[str, str]:
    """Names of user model and language model, with the defaults filled in; "" for no language model.

    If a language model is named, the default is the hybrid: never worse than the statistical people it builds on.
    """
    user_model = user_model or ("hybrid" if llm else "statistical")
    return user_model, (llm or DEFAULT_LLM) if uses_llm(user_model) else ""


def _has_habits(user_model: str) -> bool:
    return first_name(user_model) in ("statistical", "hybrid")


def config_of(run: Run) -> SimulationConfig:
    """The config a run was made with.

    Raises:
        RecordingError: The run was made by a version with other options.
    """
    known = {f.name for f in fields(SimulationConfig)}
    stored: Mapping[str, Any] = run.manifest.config
    # An option added after the run was recorded has a default that changes nothing.
    strange = sorted(set(stored) - known)
    if strange:
        raise RecordingError(f"{run.folder}: recorded by a version with other options ({', '.join(strange)}).")
    policies = stored.get("policies", SimulationConfig().policies)
    config = SimulationConfig(**{**stored, "policies": tuple(policies) if isinstance(policies, list) else policies})
    try:
        check_fields(config)  # types and ranges only: a run outlives the files that its config names
        return replace(config, quit=rule_of_older(config.quit)) if config.quit else config
    except ConfigError as error:
        raise RecordingError(
            f"{run.folder}: its config in run.json cannot be used: {error} Put run.json back as it was written."
        ) from None


def config_json(config: SimulationConfig) -> dict[str, Any]:
    """The config as JSON values, in the form of a run's manifest."""
    return {**asdict(config), "policies": list(config.policies)}
