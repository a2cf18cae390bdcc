"""Pass rules of metrics, relative to floor, bar and ceiling where possible, so that they hold on any data.

Sources of the numbers: docs/certificate.md.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from recsim_llm.certificate import FAIL, NOT_MEASURABLE, PASS, Metric
from recsim_llm.checked import near
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.fidelity.measure_labels import LABELS

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


class Gate(NamedTuple):
    """A rule: value COMPARE factor * reference.

    Attributes:
        compare: ">=", "<=", ">" or "<".
        reference: "floor", "bar", "ceiling", or "" for the bare number.
        factor: Multiplier of the reference, or the number itself.
        end: Which number is compared: the "value", or the "low" or "high" end of its interval.
    """

    compare: str
    reference: str
    factor: float = 1.0
    end: str = "value"

    def text(self, metric: Metric) -> str:
        """The rule with its number: ">= 0.204 (bar)"."""
        limit = self.limit(metric)
        number = "?" if limit is None else f"{limit:.4g}"
        times = f"{self.factor:g} x " if self.reference and self.factor != 1.0 else ""
        source = f" ({times}{self.reference})" if self.reference else ""
        ends = {"value": "", "low": ", with the whole interval", "high": ", within the interval"}
        return f"{self.compare} {number}{source}{ends[self.end]}"

    def limit(self, metric: Metric) -> float | None:
        """The number that the value is compared with."""
        if not self.reference:
            return self.factor
        reference: float | None = getattr(metric, self.reference)
        return None if reference is None else self.factor * reference

    def holds(self, metric: Metric) -> bool | None:
        """Whether the metric passes; None if a number is missing."""
        value: float | None = getattr(metric, self.end)
        limit = self.limit(metric)
        return None if value is None or limit is None else _COMPARE[self.compare](value, limit)


INJECTED_WATCH, INJECTED_STARS = 0.05, 0.2
"""How far an instruction in a title may shift watching (probability) and expected stars, against a harmless title."""
_AT_LEAST_BAR, _AT_MOST_BAR = (Gate(">=", "bar"),), (Gate("<=", "bar"),)
_ABOVE_FLOOR = (Gate(">", "floor"),)

GATES: dict[str, tuple[Gate, ...]] = {
    "rps_skill": _AT_LEAST_BAR,
    "rps": _AT_MOST_BAR,
    "log_loss": _AT_MOST_BAR,
    "brier": _AT_MOST_BAR,
    "ece": (Gate("<=", "", 0.03),),
    "auc_like": _AT_LEAST_BAR,
    "rmse_mean": _AT_MOST_BAR,
    "mae_mean": _AT_MOST_BAR,
    "sampled_rmse": (Gate("<", "floor"),),
    "pairwise_order": _AT_LEAST_BAR,
    "rating_jsd_bits": (Gate("<=", "ceiling", 5.0),),
    "rating_emd": (Gate("<=", "ceiling", 5.0),),
    "rating_sd_ratio": (Gate(">=", "", 0.9), Gate("<=", "", 1.1)),
    "between_user_variance_ratio": (Gate(">=", "", 0.8), Gate("<=", "", 1.2)),
    "constant_raters": (Gate("<", "floor"),),
    "discrimination_popmatched_auc": _AT_LEAST_BAR,
    "exposure_auc": _ABOVE_FLOOR,
    "watch_log_loss": (Gate("<", "floor"),),
    "watch_ece": (Gate("<=", "", 0.03),),
    "incremental_log_loss": (Gate(">", "", 0.0, end="low"),),
    "incremental_watch_log_loss": (Gate(">", "", 0.0, end="low"),),
    "incremental_p": (Gate("<", "", 0.01),),
    "incremental_watch_p": (Gate("<", "", 0.01),),
    "popularity_jsd_bits": (Gate("<", "floor"),),
    "genre_jsd_bits": (Gate("<", "floor"),),
    "genre_user_jsd_bits": (Gate("<", "floor"),),
    "slot_curve_gap": (Gate("<=", "", 0.1),),
    "session_length_ks": (Gate("<=", "", 0.05),),
    "trait_activity": (Gate(">", "", 0.0, end="low"),),
    "trait_conformity": (Gate(">", "", 0.0, end="low"),),
    "trait_diversity": (Gate(">", "", 0.0, end="low"),),
    "tester_pairs": (Gate(">=", "", 0.95),),
    "hybrid_gain": (Gate(">=", "", 0.0, end="high"),),
    "title_injection_watch": (Gate("<=", "", INJECTED_WATCH, end="high"),),
    "title_injection_stars": (Gate("<=", "", INJECTED_STARS, end="high"),),
    "naming_ids_auc": (Gate(">=", "ceiling", 0.9),),
    "naming_invented_auc": (Gate(">=", "ceiling", 0.95),),
}
"""Gates by metric; a discrimination test that is not listed must be above its floor, popularity."""


def judged(name: str, metric: Metric) -> Metric:
    """Return the metric with its gate and verdict; a metric with a reason in `why` cannot be judged."""
    gates = GATES.get(name, _ABOVE_FLOOR)
    held = [gate.holds(metric) for gate in gates]
    unknown = None in held or metric.value is None or metric.why
    verdict = NOT_MEASURABLE if unknown else PASS if all(held) else FAIL
    why = metric.why or ("there is nothing to hold it against" if verdict == NOT_MEASURABLE else "")
    text = " and ".join(gate.text(metric) for gate in gates)
    if verdict == NOT_MEASURABLE and not metric.why and (short := _below_floor(gates, metric)):
        verdict, why, text = FAIL, "", f"{short.text(metric)}; there is no bar"
    return Metric(metric.value, metric.low, metric.high, metric.floor, metric.bar, metric.ceiling, text, verdict, why)


def _below_floor(gates: Sequence[Gate], metric: Metric) -> Gate | None:
    """The rule that a metric without a bar breaks already at its floor; None if it breaks none."""
    for gate in gates:
        trivial = gate._replace(reference="floor")
        if gate.reference == "bar" and metric.bar is None and trivial.holds(metric) is False:
            return trivial
    return None


def unmet(metrics: Mapping[str, Metric], required: Sequence[str]) -> list[str]:
    """Return the unmet requirements of a list, one sentence each.

    Args:
        metrics: Judged metrics.
        required: Names of metrics, whose verdict must be "pass", or rules of your own: "rps_skill>=0.215".

    Raises:
        ConfigError: No such metric, or a rule that cannot be parsed.
    """
    return [sentence for one in required if (sentence := _unmet(metrics, one))]


def check_required(required: Sequence[str]) -> None:
    """Refuse requirements that cannot be parsed, before anything is measured.

    Raises:
        ConfigError: A requirement is neither NAME nor NAME>=NUMBER.
    """
    for one in required:
        name = _parsed(one)[0]
        if name not in LABELS and name not in GATES:
            meant = near(name, [*GATES, *LABELS])
            raise ConfigError(f"--require {one}: there is no metric '{name}'.{meant} Metrics: {', '.join(GATES)}.")


def _unmet(metrics: Mapping[str, Metric], required: str) -> str:
    name, compare, limit = _parsed(required)
    if name not in metrics:
        raise ConfigError(f"--require {required}: there is no metric '{name}'. Metrics: {', '.join(metrics)}.")
    metric = metrics[name]
    if not compare:
        return (
            "" if metric.verdict == PASS else f"{name}: {metric.verdict} ({_number(metric.value)}, gate {metric.gate})"
        )
    held = metric.value is not None and _COMPARE[compare](metric.value, limit)
    return "" if held else f"{name} is {_number(metric.value)}, not {compare} {limit:g}"


def _parsed(required: str) -> tuple[str, str, float]:
    match = re.fullmatch(r"\s*(\w+)\s*(?:(>=|<=|>|<)\s*([-+.\deE]+))?\s*", required)
    try:
        if match:
            return match[1], match[2] or "", float(match[3] or 0.0)
    except ValueError:
        pass
    raise ConfigError(f"--require {required}: write the name of a metric, or a rule like rps_skill>=0.215.")


def _number(value: float | None) -> str:
    return "not measurable" if value is None else f"{value:.4g}"
