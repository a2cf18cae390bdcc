"""When a request counts as slow and is sent a second time. Knows nothing of networks."""

from __future__ import annotations

from collections import defaultdict, deque

_TIMES = 1.5
_QUANTILE = 0.95
_RECENT = 256
_ENOUGH = 4
_UNKNOWN = 20.0
_SHARE = 0.1
_FREE = 2


class Hedging:
    """Watches how long requests take, apart by kind, and allows second copies of those that take far longer.

    A copy is allowed when its request has waited for `after_s`, and half as long again as 19 in 20 of the last 256 of
    its kind (20 times `after_s` where fewer than four are known); at most a tenth of all requests, and two more, are
    sent twice (Dean and Barroso, "The Tail at Scale", 2013, send about a twentieth).

    Args:
        after_s: Least wait, in seconds.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._recent: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_RECENT))
        self._sent = self._copies = 0

    def sent(self) -> None:
        """A request goes out, not a copy of one."""
        self._sent += 1

    def answered(self, kind: str, seconds: float) -> None:
        """A copy has been answered, so long after it was sent."""
        self._recent[kind].append(seconds)

    def patience_s(self, kind: str) -> float:
        """How long a request of this kind may take before it counts as slow, in seconds."""
        recent = self._recent[kind]
        if len(recent) < _ENOUGH:
            return _UNKNOWN * self._after_s
        return max(self._after_s, _TIMES * sorted(recent)[int(_QUANTILE * len(recent))])

    def look_s(self, kind: str, waited_s: float, factor: float) -> float:
        """When to ask `may_copy` next, in seconds; before the time is up too, as others may be answered meanwhile."""
        left_s = factor * self.patience_s(kind) - waited_s
        return min(left_s, self._after_s) if left_s > 0 else self._after_s

    def may_copy(self, kind: str, waited_s: float, factor: float = 1.0) -> bool:
        """Whether a second copy may go out now; counts it if so.

        Args:
            kind: Of the request.
            waited_s: Since its last copy was sent, in seconds.
            factor: How many times the usual patience.
        """
        allowed = waited_s >= factor * self.patience_s(kind) and self._copies < _FREE + _SHARE * self._sent
        self._copies += allowed
        return allowed
