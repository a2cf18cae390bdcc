"""Recorded runs for the tests of the dashboard."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.simulate import simulate


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: `sessions/ease`, `sessions/random` (statistical), `agents/ease` and `town/popularity`."""
    top = tmp_path_factory.mktemp("recorded")
    small = {"dataset": "synthetic:0:60", "pages": 3, "page_size": 4}
    sessions = SimulationConfig(**small, policies=("ease", "random"), users=30, batch_size=8)
    simulate(sessions, top / "sessions", progress=False)
    agents = SimulationConfig(**small, user_model="agent4rec", llm="uniform", policies=("ease",), users=6)
    simulate(agents, top / "agents", progress=False)
    simulate(SimulationConfig(**small, policies=("popularity",), users=30, rounds=8), top / "town", progress=False)
    return top
