"""Language models of a simulation, for the people and for the policies, with the recorders of their answers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from recsim_llm.experiments.backend import Engines, open_backend
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.language.protocol import LLM
from recsim_llm.language.wrappers.budget import Budget
from recsim_llm.runs import CallBatch, RecordingLLM
from recsim_llm.types import Completion


@dataclass(frozen=True)
class Recorders:
    """The recorders of one run: one for the people's answers, one for the policy's."""

    users: RecordingLLM | None
    policies: RecordingLLM | None

    def drain(self) -> CallBatch | None:
        """Return the calls since the previous drain, the people's first."""
        batches = [recorder.drain() for recorder in (self.users, self.policies) if recorder]
        if not batches:
            return None
        keys, prompts, completions = (
            tuple(value for batch in batches for value in getattr(batch, name))
            for name in ("keys", "prompts", "completions")
        )
        return CallBatch(keys, prompts, completions)

    def asked(self) -> list[tuple[int, bytes]]:
        """Return who was asked which prompts since the previous call (`RecordingLLM.asked`)."""
        return [pair for recorder in (self.users, self.policies) if recorder for pair in recorder.asked()]

    def usage(self) -> dict[str, dict[str, float]]:
        """Counters so far; if one model serves both, they are counted together, as "llm"."""
        used = {}
        if self.users:
            used["llm"] = asdict(self.users.usage)
        if self.policies and not (self.users and self.users.usage is self.policies.usage):
            used["policy_llm"] = asdict(self.policies.usage)
        return used


@dataclass(frozen=True)
class RunModels:
    """The language models of a simulation.

    Attributes:
        users: Model of the people; None if they need none.
        policies: Model of the policies; the same object if both have the same name.
    """

    users: LLM | None
    policies: LLM | None

    def recorders(self, config: SimulationConfig, recorded: Mapping[bytes, Completion]) -> Recorders:
        """Build the recorders between these models and one run."""
        users = RecordingLLM(self.users, recorded) if self.users else None
        policies = RecordingLLM(self.policies, recorded) if self.policies and config.policies_ask_llm else None
        return Recorders(users, policies)


def open_models(
    config: SimulationConfig, engines: Engines | None, budget: Budget | None, stack: ExitStack
) -> RunModels:
    """Start the models that a config needs; they close with the stack (errors: see `backend.open_backend`)."""
    users = stack.enter_context(open_backend(config.llm, engines, budget)) if config.asks_llm else None
    if not config.policies_ask_llm:
        return RunModels(users, None)
    if users is not None and config.policy_llm == config.llm:
        return RunModels(users, users)
    return RunModels(users, stack.enter_context(open_backend(config.policy_llm, engines, budget)))
