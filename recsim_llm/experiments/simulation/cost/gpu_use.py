"""How busy the GPUs of this machine are while a job runs, where there are any and NVIDIA's library can be asked."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

_PERIOD_S = 1.0


class GpuUse:
    """Asks NVML once a second, from a thread of its own, between `with` and its end.

    Attributes:
        samples: One number a GPU and second: share of the last second in which some kernel ran, [0, 1]. Empty without
            GPUs, and without the package `nvidia-ml-py` (vLLM on CUDA brings it).
    """

    def __init__(self, period_s: float = _PERIOD_S) -> None:
        self.samples: list[float] = []
        self._period, self._stop = period_s, threading.Event()
        self._nvml = _nvml()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def mean(self) -> float | None:
        """Mean share of time that the GPUs were busy; None where nothing could be asked."""
        return sum(self.samples) / len(self.samples) if self.samples else None

    def __enter__(self) -> GpuUse:
        if self._nvml is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._nvml is not None:
            self._stop.set()
            self._thread.join()
            self._nvml.nvmlShutdown()

    def _watch(self) -> None:
        nvml: Any = self._nvml
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        while handles and not self._stop.wait(self._period):
            try:
                self.samples += [nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100 for handle in handles]
            except nvml.NVMLError:  # some virtual GPUs do not say
                return


def _nvml() -> Any:
    """The library, ready to be asked; None where it or a GPU is missing: a number that is nice to have, no more."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
