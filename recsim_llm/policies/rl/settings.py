"""Options of the RL policies: one frozen dataclass per algorithm. Does not import torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le, Lt

from recsim_llm.checked import Count, NotNegative, Positive, Share, Text, check_fields

Tracker = Literal["average", "gru", "sasrec"]


@dataclass(frozen=True, slots=True)
class NetSettings:
    """Options of all networks and algorithms.

    Defaults are those of EasyRL4Rec (Yu et al., SIGIR 2024) unless stated otherwise.

    Attributes:
        tracker: How a history is encoded as a state: "average", "gru" or "sasrec".
        embedding_size: D, size of item vectors, at least 1.
        hidden_size: Width of the two hidden layers, at least 1.
        window: Latest items of the session that a state holds one by one, at least 1 (EasyRL4Rec 3; 4 here, as far as
            BiLLP's users look back).
        pretrained: Whether item vectors and biases are initialised by a factorisation of the training ratings.
        sharpness: Initial factor on the predicted ratings: 1 for values, more for the scores of an actor, whose
            softmax of stars would be nearly uniform.
        gamma: Discount, 0 to below 1.
        learning_rate: Learning rate of Adam, above 0.
    """

    tracker: Tracker = "average"
    embedding_size: Count = 32
    hidden_size: Count = 64
    window: Count = 4
    pretrained: bool = True
    sharpness: NotNegative = 1.0
    gamma: Annotated[float, Ge(0.0), Lt(1.0)] = 0.9
    learning_rate: Positive = 1e-3

    def __post_init__(self) -> None:
        check_fields(self, str)

    @classmethod
    def of(cls, options: dict[str, Any]) -> Self:
        """Build settings from options by name; the caller checks the names."""
        return cls(**options)

    def as_options(self) -> dict[str, Any]:
        """Return the settings as options by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DQNSettings(NetSettings):
    """Options of DQN.

    Attributes:
        n_step: Rewards before the bootstrap, at least 1.
        buffer_size: Transitions stored, at least 1.
        batch_size: Transitions per update.
        updates_per_step: Updates per environment step.
        target_update: Updates between copies to the target network.
        epsilon: Share of random items at the end of the exploration; it begins at 1.
        explore: Share of the training over which epsilon decreases.
        warm_up: Steps before the first update.
    """

    n_step: Count = 3
    buffer_size: Count = 100_000
    batch_size: Count = 128
    updates_per_step: NotNegative = 0.0625
    target_update: Count = 320
    epsilon: Share = 0.05
    explore: Share = 0.3
    warm_up: Count = 1_000


@dataclass(frozen=True, slots=True)
class A2CSettings(NetSettings):
    """Options of A2C.

    Attributes:
        round_length: Steps of every environment between updates.
        batch_size: Transitions per minibatch.
        value_weight: Weight of the critic's loss.
        entropy_weight: Weight of the entropy bonus.
        gae_lambda: Lambda of generalised advantage estimation, 0 to 1.
        max_grad_norm: Norm at which gradients are clipped.
    """

    sharpness: NotNegative = 4.0
    learning_rate: Positive = 3e-3
    round_length: Count = 5
    batch_size: Count = 1_024
    value_weight: NotNegative = 0.5
    entropy_weight: NotNegative = 0.3
    gae_lambda: Share = 1.0
    max_grad_norm: NotNegative = 1.0


@dataclass(frozen=True, slots=True)
class PPOSettings(A2CSettings):
    """Options of PPO: those of A2C, and these.

    Attributes:
        clip: Largest change of a probability ratio.
        repeats: Passes over a round.
    """

    learning_rate: Positive = 1e-3
    round_length: Count = 10
    entropy_weight: NotNegative = 0.03
    clip: NotNegative = 0.2
    repeats: Count = 4


@dataclass(frozen=True, slots=True)
class OfflineSettings(NetSettings):
    """Options of all policies that learn from logs.

    Attributes:
        data: Path of an offline data set (`offline_data.OfflineLog`); "": the training ratings.
        n_step: Rewards before the bootstrap, at least 1.
        batch_size: Transitions per update.
        updates: Total number of updates.
        target_update: Updates between copies to the target network.
    """

    data: Text = ""
    n_step: Count = 1
    batch_size: Count = 64
    updates: Count = 4_000
    target_update: Count = 320


@dataclass(frozen=True, slots=True)
class SQNSettings(OfflineSettings):
    """Options of SQN.

    Attributes:
        head: The head that ranks items: "supervised" (next item) or "q".
        updates: Maximum number of updates; training ends earlier on convergence.
        held_out: Share of logged users who are held out; their loss decides when to stop, above 0 to below 1.
        check_every: Updates between two checks of that loss.
        patience: Checks in a row without a lower loss after which training has converged.
    """

    head: Literal["supervised", "q"] = "supervised"
    updates: Count = 20_000
    held_out: Annotated[float, Gt(0.0), Lt(1.0)] = 0.1
    check_every: Count = 100
    patience: Count = 5


@dataclass(frozen=True, slots=True)
class BCQSettings(OfflineSettings):
    """Options of discrete BCQ.

    Attributes:
        threshold: An item is excluded if the imitator finds it less likely than this share of the most likely one, 0
            to below 1.
        penalty: Weight of the penalty on the imitator's squared scores.
    """

    threshold: Annotated[float, Ge(0.0), Lt(1.0)] = 0.2
    penalty: NotNegative = 0.01


@dataclass(frozen=True, slots=True)
class CQLSettings(OfflineSettings):
    """Options of discrete CQL.

    Attributes:
        quantiles: Q, number of quantiles, at least 2.
        min_q_weight: Weight of the conservative term.
    """

    quantiles: Annotated[int, Ge(2), Le(100_000)] = 20
    min_q_weight: NotNegative = 0.3


@dataclass(frozen=True, slots=True)
class CRRSettings(OfflineSettings):
    """Options of discrete CRR.

    Attributes:
        beta: Temperature of the advantage, above 0.
        min_q_weight: Weight of a conservative term as in CQL, which the paper does not have (0).
        most: Largest weight of a logged action.
    """

    beta: Positive = 1.0
    min_q_weight: NotNegative = 0.0
    most: NotNegative = 20.0
    n_step: Literal[1] = 1  # the critic looks one step ahead


@dataclass(frozen=True, slots=True)
class DORLSettings(A2CSettings):
    """Options of DORL: those of A2C, and these.

    Weights of bonus and penalty, the size of the ensemble and the offset are the defaults of DORL's code.

    Attributes:
        steps: Training steps with learned users.
        num_envs: Learned users side by side.
        max_steps: Turns after which a learned user's session is truncated.
        exit: The rule by which learned users leave: "learned", similarity learned from the log, or "task", the rule of
            the environment that the policy is for, as in EasyRL4Rec.
        entropy_bonus: Weight of the log's entropy in the reward (DORL 5 and, for KuaiRand, 0.05; EasyRL4Rec 3 or 5).
        variance_penalty: Weight of a prediction's largest variance in the reward (DORL 0.05 and, for KuaiRand, 0.01;
            EasyRL4Rec has none, 0).
        ensemble: Models of the log, at least 1: ratings are their mean, the variance is their largest.
        offset: Whether the smallest possible reward is subtracted, so that no reward is negative.
        quit_window: Latest items with which a learned user compares a new one; for exit=learned.
        nearest: Share of item pairs that are too similar for a learned user, 0: none; for exit=learned.
        low_reward: Stars below which a learned user leaves; for exit=learned.
    """

    steps: Count = 100_000
    num_envs: Count = 100
    max_steps: Count = 30
    exit: Literal["learned", "task"] = "learned"
    entropy_bonus: NotNegative = 5.0
    variance_penalty: NotNegative = 0.05
    ensemble: Annotated[int, Ge(1), Le(100)] = 5
    offset: bool = True
    quit_window: Count = 4
    nearest: Annotated[float, Ge(0.0), Lt(1.0)] = 0.1
    low_reward: NotNegative = 2.0
