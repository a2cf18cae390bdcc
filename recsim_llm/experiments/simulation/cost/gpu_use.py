"""Measures how busy this machine's GPUs are while a job runs, if there are any and NVML is available."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

_PERIOD_S = 1.0


class GpuUse:
    """Samples NVML once a second from its own thread inside a `with` block.

    Attributes:
        samples: One number per GPU and second: share of the last second in which a kernel ran, [0, 1]. Empty without
            GPUs, and without the package `nvidia-ml-py` (vLLM on CUDA installs it).
    """

    def __init__(self, period_s: float = _PERIOD_S) -> None:
        self.samples: list[float] = []
        self._period, self._stop = period_s, threading.Event()
        self._nvml = _nvml()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def mean(self) -> float | None:
        """Mean share of time that the GPUs were busy; None without samples."""
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
            except nvml.NVMLError:  # some virtual GPUs do not report use
                return


def _nvml() -> Any:
    """The initialised library; None if it or a GPU is missing, since the measurement is optional."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
