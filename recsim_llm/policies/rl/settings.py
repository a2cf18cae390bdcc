"""The options of the learning policies: one frozen data class each. Knows no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from recsim_llm.errors import ConfigError

Tracker = Literal["average", "gru", "sasrec"]
TRACKERS = ("average", "gru", "sasrec")


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
    embedding_size: int = 32
    hidden_size: int = 64
    window: int = 4
    pretrained: bool = True
    sharpness: float = 1.0
    gamma: float = 0.9
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        if self.tracker not in TRACKERS:
            raise ConfigError(f"tracker must be one of {', '.join(TRACKERS)}, not {self.tracker!r}.")
        for field in fields(self):
            check_number(field.name, getattr(self, field.name), field.type)
        if self.gamma >= 1:
            raise ConfigError(f"gamma must be below 1, not {self.gamma}.")

    @classmethod
    def of(cls, options: dict[str, Any]) -> Self:
        """Settings from options by name; their names are checked by who calls."""
        return cls(**options)

    def as_options(self) -> dict[str, Any]:
        """The way back."""
        return asdict(self)


def check_number(name: str, value: object, kind: object) -> None:
    """Check a setting against the type that its field declares: whole numbers at least 1, others at least 0.

    Raises:
        ConfigError: It is of another type, or too small.
    """
    if kind == "int" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ConfigError(f"{name} must be a whole number of at least 1, not {value!r}.")
    if kind == "float" and (isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0):
        raise ConfigError(f"{name} must be a number of at least 0, not {value!r}.")
    if kind == "bool" and not isinstance(value, bool):
        raise ConfigError(f"{name} must be true or false, not {value!r}.")


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

    n_step: int = 3
    buffer_size: int = 100_000
    batch_size: int = 128
    updates_per_step: float = 0.0625
    target_update: int = 320
    epsilon: float = 0.05
    explore: float = 0.3
    warm_up: int = 1_000


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

    sharpness: float = 4.0
    learning_rate: float = 3e-3
    round_length: int = 5
    batch_size: int = 1_024
    value_weight: float = 0.5
    entropy_weight: float = 0.3
    gae_lambda: float = 1.0
    max_grad_norm: float = 1.0


@dataclass(frozen=True, slots=True)
class PPOSettings(A2CSettings):
    """Of PPO: those of A2C and these.

    Attributes:
        clip: Largest change of a probability ratio.
        repeats: Passes over a round.
    """

    learning_rate: float = 1e-3
    round_length: int = 10
    entropy_weight: float = 0.03
    clip: float = 0.2
    repeats: int = 4


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

    data: str = ""
    n_step: int = 1
    batch_size: int = 64
    updates: int = 4_000
    target_update: int = 320


@dataclass(frozen=True, slots=True)
class SQNSettings(OfflineSettings):
    """Of SQN.

    Attributes:
        head: Which head serves: "supervised", the next item, or "q".
    """

    head: Literal["supervised", "q"] = "supervised"

    def __post_init__(self) -> None:
        NetSettings.__post_init__(self)
        if self.head not in ("supervised", "q"):
            raise ConfigError(f"head must be supervised or q, not {self.head!r}.")


@dataclass(frozen=True, slots=True)
class BCQSettings(OfflineSettings):
    """Of discrete BCQ.

    Attributes:
        threshold: An item is out of the question where the imitator finds it less likely than this share of the
            likeliest, 0 to below 1.
        penalty: On the imitator's squared scores.
    """

    threshold: float = 0.2
    penalty: float = 0.01

    def __post_init__(self) -> None:
        NetSettings.__post_init__(self)
        if self.threshold >= 1:
            raise ConfigError(f"threshold must be below 1, not {self.threshold}.")


@dataclass(frozen=True, slots=True)
class CQLSettings(OfflineSettings):
    """Of discrete CQL.

    Attributes:
        quantiles: Q, at least 2.
        min_q_weight: Of the conservative term.
    """

    quantiles: int = 20
    min_q_weight: float = 0.3

    def __post_init__(self) -> None:
        NetSettings.__post_init__(self)
        if self.quantiles < 2:
            raise ConfigError(f"quantiles must be at least 2, not {self.quantiles}.")


@dataclass(frozen=True, slots=True)
class CRRSettings(OfflineSettings):
    """Of discrete CRR.

    Attributes:
        beta: Temperature of the advantage, above 0.
        min_q_weight: Of a conservative term as in CQL, which the paper has not (0).
        most: Largest weight of a logged action.
    """

    beta: float = 1.0
    min_q_weight: float = 0.0
    most: float = 20.0

    def __post_init__(self) -> None:
        NetSettings.__post_init__(self)
        if self.beta <= 0:
            raise ConfigError(f"beta must be above 0, not {self.beta}.")
        if self.n_step != 1:
            raise ConfigError(f"n_step must be 1 with crr, whose critic looks one step ahead, not {self.n_step}.")


@dataclass(frozen=True, slots=True)
class DORLSettings(A2CSettings):
    """Of DORL: those of A2C and these.

    Attributes:
        steps: Steps among learned people.
        num_envs: Learned people side by side.
        max_steps: Turns after which a learned person's session is cut off.
        entropy_bonus: Weight of the log's entropy in the reward (EasyRL4Rec 5 for KuaiRec, 3 for Coat).
        quit_window: Latest items that a learned person compares a new one with.
        nearest: Share of the pairs of items that are too much alike for a learned person; 0: none.
        low_reward: Stars below which a learned person leaves.
    """

    steps: int = 100_000
    num_envs: int = 100
    max_steps: int = 30
    entropy_bonus: float = 1.0
    quit_window: int = 4
    nearest: float = 0.1
    low_reward: float = 2.0
