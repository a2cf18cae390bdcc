"""Decides when a request counts as slow and is sent a second time (hedging). Contains no network code."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable

_TIMES = 1.25
_QUANTILE = 0.95
_RECENT = 256
_ENOUGH = 4
_FEW = 2.0
_UNKNOWN = 20.0
_LOOK = 0.2
_SHARE = 0.25
_FREE = 2
_KEPT = 4
_BAD_WEATHER = 0.02


class Hedging:
    """Records the latency of requests, per kind, and allows second copies of those that take far longer.

    A copy is allowed once its request has waited for `after_s` and a quarter longer than 19 in 20 of the last 256 of
    its kind; twice as long as the slowest if fewer than four are known, and 20 times `after_s` if none is. A request
    that has failed may be sent twice at once, and while more than one in 50 fail, so may a slow one. At most a quarter
    of all requests are copied (two more for slow requests, four fewer for copies sent at once), so a server that is
    slow for everybody gets little extra load; beyond that, one slow request per span of patience is copied, so that
    none waits for ever. (Dean and Barroso, "The Tail at Scale", 2013, copy about a twentieth; a storm needs more.)

    Args:
        after_s: Least wait, in seconds.
        clock: Returns the current time in seconds.
    """

    def __init__(self, after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._after_s, self._clock = after_s, clock
        self._recent: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_RECENT))
        self._failures: deque[bool] = deque(maxlen=_RECENT)
        self._sent = self._copies = 0
        self._exceeded_at = clock()

    def sent(self) -> None:
        """Record that a request, not a copy of one, was sent."""
        self._sent += 1

    def answered(self, kind: str, seconds: float) -> None:
        """Record that a copy was answered this many seconds after it was sent."""
        self._recent[kind].append(seconds)
        self._failures.append(False)

    def failed(self) -> None:
        """Record that a copy failed."""
        self._failures.append(True)

    def patience_s(self, kind: str) -> float:
        """How long a request of this kind may take before it counts as slow, in seconds."""
        recent = self._recent[kind]
        if not recent:
            return _UNKNOWN * self._after_s
        if len(recent) < _ENOUGH:
            return max(self._after_s, _FEW * max(recent))
        return max(self._after_s, _TIMES * sorted(recent)[int(_QUANTILE * len(recent))])

    def look_s(self, kind: str, waited_s: float, factor: float) -> float:
        """Seconds until the next call of `may_copy`; short while few latencies are known, as more may arrive."""
        left_s = factor * self.patience_s(kind) - waited_s
        longest_s = self._after_s if len(self._recent[kind]) >= _ENOUGH else _LOOK * self._after_s
        return min(left_s, longest_s) if left_s > 0 else self._after_s

    def may_copy(self, kind: str, waited_s: float, factor: float = 1.0) -> bool:
        """Whether a second copy of a slow request may go out now; counts it if so.

        Args:
            kind: Kind of the request.
            waited_s: Seconds since its last copy was sent.
            factor: Multiple of the usual patience.
        """
        patience_s = factor * self.patience_s(kind)
        if waited_s < patience_s:
            return False
        if self._grant(_FREE):
            return True
        exceed = self._clock() - self._exceeded_at >= patience_s
        if exceed:
            self._exceeded_at = self._clock()
        return exceed

    def may_double(self) -> bool:
        """Whether a further copy may be sent at once because copies are failing; counts it if so."""
        stormy = sum(self._failures) > _BAD_WEATHER * len(self._failures)
        return stormy and self._grant(-_KEPT)

    def _grant(self, free: int) -> bool:
        granted = self._copies + 1 <= free + _SHARE * self._sent
        self._copies += granted
        return granted
