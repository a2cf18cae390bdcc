from __future__ import annotations

import sys
import time
from types import SimpleNamespace

from recsim_llm.experiments.simulation.cost.gpu_use import GpuUse


class NVMLError(Exception):
    pass


def library(gpus: int, busy: object = 50) -> SimpleNamespace:
    def rates(handle):
        if busy is None:
            raise NVMLError
        return SimpleNamespace(gpu=busy)

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: gpus,
        nvmlDeviceGetHandleByIndex=lambda i: i,
        nvmlDeviceGetUtilizationRates=rates,
    )


def watch(seconds: float = 0.1) -> GpuUse:
    with GpuUse(period_s=0.01) as use:
        time.sleep(seconds)
    return use


def test_the_mean_over_gpus_and_time(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", library(2))
    use = watch()
    assert use.mean == 0.5
    assert len(use.samples) % 2 == 0


def test_nothing_is_said_where_nothing_can_be_asked(monkeypatch):
    for pynvml in (None, library(0), library(1, busy=None)):
        monkeypatch.setitem(sys.modules, "pynvml", pynvml)
        assert watch(0.03).mean is None


def test_a_driver_that_is_missing_is_no_error(monkeypatch):
    broken = library(1)

    def init():
        raise NVMLError

    broken.nvmlInit = init
    monkeypatch.setitem(sys.modules, "pynvml", broken)
    assert watch(0.0).mean is None
