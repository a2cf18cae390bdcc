"""Trains DORL's A2C among learned people. Needs torch and tianshou."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.policies.rl.algorithms import make_a2c, seeded, served
from recsim_llm.policies.rl.imagined import Entropies, ImaginedWorld, learn_people
from recsim_llm.policies.rl.item_vectors import item_start
from recsim_llm.policies.rl.learners import OnPolicyLearner
from recsim_llm.policies.rl.loop import train_segment
from recsim_llm.policies.rl.offline import HISTORY
from recsim_llm.policies.rl.settings import DORLSettings
from recsim_llm.policies.rl.weights import packed_weights


def fit_dorl(log: Ratings, catalogue: Catalogue, settings: DORLSettings, seed: int) -> dict[str, NDArray[Any]]:
    """Weights of the actor.

    Args:
        log: Training ratings; none leaves the actor as it begins.
        catalogue: The items.
        settings: Of DORL.
        seed: Of everything.
    """
    start = item_start(log, catalogue, settings.embedding_size, seed, settings.pretrained)
    with seeded(seed):
        learner = OnPolicyLearner(make_a2c(start, settings), settings, settings.num_envs)
        if len(log):
            known = item_start(log, catalogue, settings.embedding_size, seed, pretrained=True)
            people = learn_people(log, known, settings, HISTORY)
            world = ImaginedWorld(people, Entropies(log, catalogue), settings, seed)
            train_segment(learner, world, 0, range(0, settings.steps, settings.num_envs), seed)
    return packed_weights(served(learner.algorithm))
