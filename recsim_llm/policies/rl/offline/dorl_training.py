"""Training of DORL's A2C with learned users. Needs torch and tianshou."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.data.likeness import Likeness
from recsim_llm.policies.rl.algorithms import make_a2c, seeded, served
from recsim_llm.policies.rl.item_vectors import item_start
from recsim_llm.policies.rl.learners import OnPolicyLearner
from recsim_llm.policies.rl.loop import train_segment
from recsim_llm.policies.rl.networks.weights import packed_weights
from recsim_llm.policies.rl.offline.imagined import Entropies, Exits, ImaginedWorld, LearnedExits, learn_people
from recsim_llm.policies.rl.offline.offline_policies import HISTORY
from recsim_llm.policies.rl.settings import DORLSettings


def fit_dorl(
    log: Ratings, catalogue: Catalogue, settings: DORLSettings, seed: int, task: Exits | None = None
) -> dict[str, NDArray[Any]]:
    """Train the actor and return its weights.

    Args:
        log: Training ratings; an empty log leaves the actor untrained.
        catalogue: The items.
        settings: Settings of DORL.
        seed: Seed for all random draws.
        task: The exit rule of the task, for exit=task; None: the rule is learned from the log.
    """
    start = item_start(log, catalogue, settings.embedding_size, seed, settings.pretrained)
    with seeded(seed):
        learner = OnPolicyLearner(make_a2c(start, settings), settings, settings.num_envs)
        if len(log):
            size = settings.embedding_size
            models = [item_start(log, catalogue, size, seed + m, pretrained=True) for m in range(settings.ensemble)]
            exits = task or LearnedExits(
                Likeness.nearest(models[0].likeness, settings.nearest), settings.quit_window, settings.low_reward
            )
            people = learn_people(log, models, HISTORY)
            world = ImaginedWorld(people, exits, Entropies(log, catalogue), settings, seed)
            train_segment(learner, world, 0, range(0, settings.steps, settings.num_envs), seed)
    return packed_weights(served(learner.algorithm))
