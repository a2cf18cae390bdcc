"""The rollout loop: a policy shows pages to batches of users until all sessions have ended. No file I/O."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

from recsim_llm.agents.user_model import UserModel
from recsim_llm.environments.sessions import Outcome, PageRules
from recsim_llm.environments.vector import PageVectorEnv
from recsim_llm.errors import ConfigError, UncertifiedWarning
from recsim_llm.policies.feedback import Feedback, Learner
from recsim_llm.policies.policy_protocol import Policy
from recsim_llm.policies.sparse_rows import some_users
from recsim_llm.runs import StepBatch
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Ints


def choose_visitors(num_users: int, count: int, seed: int) -> Ints:
    """Draw `count` different users by a hash of (seed, user): a larger count includes the users of a smaller one.

    Raises:
        ConfigError: There are not that many users.
    """
    if not 1 <= count <= num_users:
        raise ConfigError(f"--users must be within 1..{num_users} (the people of this data set), not {count}.")
    return np.argsort(uniforms(seed, Stream.USER, np.arange(num_users)), kind="stable")[:count].astype(np.int64)


def rollout(
    dataset: str, users: UserModel, policy: Policy, visitors: Ints, rules: PageRules, seed: int, batch_size: int
) -> Iterator[StepBatch]:
    """Run one session per visitor; yield the steps of one page of one batch at a time.

    A user's trajectory depends on the seed and the user, not on the batch, as long as the policy does not learn between
    rounds.

    Args:
        dataset: Name or folder, for catalogue and logged histories.
        users: The population.
        policy: The policy that shows the pages; if it can learn, it learns after each round.
        visitors: (S,) user ids; session s belongs to `visitors[s]`. A user named twice has the same session twice.
        rules: Page size, page limit, reward.
        seed: Seed of all sampling.
        batch_size: Number of concurrent sessions.
    """
    for start in range(0, len(visitors), batch_size):
        batch = visitors[start : start + batch_size]
        with warnings.catch_warnings():
            # The caller built the population and says whether it is certified.
            warnings.simplefilter("ignore", UncertifiedWarning)
            env = PageVectorEnv(
                len(batch),
                dataset,
                users,
                page_size=rules.page_size,
                max_pages=rules.max_pages,
                history_length=rules.history_length,
                duplicates=rules.duplicates,
                reward=rules.reward,
                autoreset_mode="disabled",
            )
        yield from _sessions(env, policy, batch, seed, start)


def _sessions(env: PageVectorEnv, policy: Policy, batch: Ints, seed: int, start: int) -> Iterator[StepBatch]:
    env.reset(seed=[seed] * len(batch), options={"user": batch})
    actions = np.zeros((len(batch), policy.page_size), dtype=np.int64)
    while not env.sessions.ended.all():
        running = np.flatnonzero(~env.sessions.ended)
        actions[running] = policy.act(some_users(env.sessions.observation(), running))
        env.step(actions)
        assert env.last is not None
        if isinstance(policy, Learner):
            policy.learn(_feedback(env.last))
        yield step_batch(env.last, start)


def _feedback(outcome: Outcome) -> Feedback:
    responses, ended = outcome.responses, outcome.left | outcome.truncated
    return Feedback(outcome.users, outcome.pages, responses.watched_BK, responses.ratings_BK, outcome.rewards, ended)


def step_batch(outcome: Outcome, start: int) -> StepBatch:
    """The rows of one step as stored; sessions are numbered from `start`."""
    return StepBatch(
        session=outcome.sessions + start,
        user=outcome.users,
        page=outcome.page_numbers,
        items=outcome.pages,
        watch=outcome.reaction.watch_BK,
        rating_probs=outcome.reaction.rating_BKR,
        watched=outcome.responses.watched_BK,
        ratings=outcome.responses.ratings_BK,
        leave=outcome.leave,
        left=outcome.left,
        truncated=outcome.truncated,
        reward=outcome.rewards,
        thoughts=outcome.reaction.thoughts,
    )
