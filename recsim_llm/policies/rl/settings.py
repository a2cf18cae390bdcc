"""The options of the learning policies: one frozen data class each. Knows no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le, Lt

from recsim_llm.checked import Count, NotNegative, Positive, Share, Text, check_fields

Tracker = Literal["average", "gru", "sasrec"]


@dataclass(frozen=True, slots=True)
class NetSettings:
    """What every network has, and every algorithm needs.

    Values are those of EasyRL4Rec (Yu et al., SIGIR 2024) where nothing else is said.

    Attributes:
        tracker: What makes a state of a history: "average", "gru" or "sasrec".
        embedding_size: D, of item vectors, at least 1.
        hidden_size: Width of the two hidden layers, at least 1.
        window: Latest items of the session that a state tells one by one, at least 1 (EasyRL4Rec 3; 4 here, as many as
            BiLLP's people look back).
        pretrained: Whether item vectors and biases begin as a decomposition of the training ratings.
        sharpness: What the predicted ratings are multiplied by at first: 1 for values, more for the scores of an actor,
            whose softmax of stars would be nearly even.
        gamma: Discount, 0 to below 1.
        learning_rate: Of Adam, above 0.
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
        """Settings from options by name; their names are checked by who calls."""
        return cls(**options)

    def as_options(self) -> dict[str, Any]:
        """The way back."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DQNSettings(NetSettings):
    """Of DQN.

    Attributes:
        n_step: Rewards before the bootstrap, at least 1.
        buffer_size: Transitions remembered, at least 1.
        batch_size: Transitions an update.
        updates_per_step: Updates for every step of an environment.
        target_update: Updates between copies to the target network.
        epsilon: Share of random items at the end of the exploration; it begins at 1.
        explore: Share of the training over which it falls.
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
    """Of A2C.

    Attributes:
        round_length: Steps of every environment between updates.
        batch_size: Transitions a minibatch.
        value_weight: Of the critic's loss.
        entropy_weight: Of the entropy bonus.
        gae_lambda: 0 to 1.
        max_grad_norm: Longest gradient.
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
    """Of PPO: those of A2C and these.

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
    """Of all that learn from logs.

    Attributes:
        data: Path of an offline data set (`offline_data.OfflineLog`); "": the training ratings.
        n_step: Rewards before the bootstrap, at least 1.
        batch_size: Transitions an update.
        updates: Updates in all.
        target_update: Updates between copies to the target network.
    """

    data: Text = ""
    n_step: Count = 1
    batch_size: Count = 64
    updates: Count = 4_000
    target_update: Count = 320


@dataclass(frozen=True, slots=True)
class SQNSettings(OfflineSettings):
    """Of SQN.

    Attributes:
        head: Which head serves: "supervised", the next item, or "q".
        updates: Updates at most; training ends before where it has converged.
        held_out: Share of the logged people who are not learned from: their loss tells when to end, above 0 to below 1.
        check_every: Updates between two looks at that loss.
        patience: Looks in a row without a lower loss after which training has converged.
    """

    head: Literal["supervised", "q"] = "supervised"
    updates: Count = 20_000
    held_out: Annotated[float, Gt(0.0), Lt(1.0)] = 0.1
    check_every: Count = 100
    patience: Count = 5


@dataclass(frozen=True, slots=True)
class BCQSettings(OfflineSettings):
    """Of discrete BCQ.

    Attributes:
        threshold: An item is out of the question where the imitator finds it less likely than this share of the
            likeliest, 0 to below 1.
        penalty: On the imitator's squared scores.
    """

    threshold: Annotated[float, Ge(0.0), Lt(1.0)] = 0.2
    penalty: NotNegative = 0.01


@dataclass(frozen=True, slots=True)
class CQLSettings(OfflineSettings):
    """Of discrete CQL.

    Attributes:
        quantiles: Q, at least 2.
        min_q_weight: Of the conservative term.
    """

    quantiles: Annotated[int, Ge(2), Le(100_000)] = 20
    min_q_weight: NotNegative = 0.3


@dataclass(frozen=True, slots=True)
class CRRSettings(OfflineSettings):
    """Of discrete CRR.

    Attributes:
        beta: Temperature of the advantage, above 0.
        min_q_weight: Of a conservative term as in CQL, which the paper has not (0).
        most: Largest weight of a logged action.
    """

    beta: Positive = 1.0
    min_q_weight: NotNegative = 0.0
    most: NotNegative = 20.0
    n_step: Literal[1] = 1  # the critic looks one step ahead


@dataclass(frozen=True, slots=True)
class DORLSettings(A2CSettings):
    """Of DORL: those of A2C and these.

    Weights of bonus and penalty, the size of the ensemble and the offset are the defaults of DORL's code.

    Attributes:
        steps: Steps among learned people.
        num_envs: Learned people side by side.
        max_steps: Turns after which a learned person's session is cut off.
        exit: By which rule learned people leave: "learned", likeness learned from the log, or "task", the rule of the
            environment that the policy is for, as in EasyRL4Rec.
        entropy_bonus: Weight of the log's entropy in the reward (DORL 5 and, for KuaiRand, 0.05; EasyRL4Rec 3 or 5).
        variance_penalty: Weight of a prediction's largest variance in the reward (DORL 0.05 and, for KuaiRand, 0.01;
            EasyRL4Rec has none, 0).
        ensemble: Models of the log, at least 1: ratings are their mean, the variance is their largest.
        offset: Whether the least possible reward is subtracted, so that no reward is negative.
        quit_window: Latest items that a learned person compares a new one with; of exit=learned.
        nearest: Share of the pairs of items that are too much alike for a learned person, 0: none; of exit=learned.
        low_reward: Stars below which a learned person leaves; of exit=learned.
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
