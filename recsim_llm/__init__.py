"""recsim_llm: LLM-powered users inside a Gymnasium environment, for recommender policies to practise on.

Importing the package registers the environments; nothing heavy is imported and nothing is downloaded.

    import gymnasium, recsim_llm
    env = gymnasium.make("recsim_llm/Page-v0")
    runs = recsim_llm.simulate(policies=["random", "ease"], users=100)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from recsim_llm.environments import register_environments

if TYPE_CHECKING:
    from recsim_llm.certificate import Certificate
    from recsim_llm.data import load_dataset
    from recsim_llm.experiments.api import certify, compare, simulate
    from recsim_llm.experiments.backend import Engines
    from recsim_llm.experiments.fidelity.certify import CertifyConfig
    from recsim_llm.experiments.simulation.config import SimulationConfig
    from recsim_llm.experiments.simulation.replay import replay
    from recsim_llm.language.wrappers.budget import Budget
    from recsim_llm.runs import Run, find_runs

__version__ = "0.1.0"
__all__ = [
    "Budget",
    "Certificate",
    "CertifyConfig",
    "Engines",
    "Run",
    "SimulationConfig",
    "certify",
    "compare",
    "find_runs",
    "load_dataset",
    "replay",
    "simulate",
]

_WHERE = {
    "Budget": "language.wrappers.budget",
    "Certificate": "certificate",
    "CertifyConfig": "experiments.fidelity.certify",
    "Engines": "experiments.backend",
    "Run": "runs",
    "SimulationConfig": "experiments.simulation.config",
    "certify": "experiments.api",
    "compare": "experiments.api",
    "find_runs": "runs",
    "load_dataset": "data",
    "replay": "experiments.simulation.replay",
    "simulate": "experiments.api",
}
"""Module of each public name, imported on first access (PEP 562), so that importing the package stays quick."""


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_environments()
