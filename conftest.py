"""What holds for all tests: what is set before anything computes, what is not collected, in which order they ran."""

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

# MKL reads it at its first product, which may be another test's; `TransformersLLM` sets it where nothing came before.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

# Workers of pytest-xdist share the cores: with threads of their own on top, torch took three times as long.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A module that vLLM's engine imports, without vLLM.
collect_ignore = [] if find_spec("vllm") else ["recsim_llm/language/backends/vllm/vllm_slots.py"]

if find_spec("hypothesis"):  # not in the environment with vLLM
    from hypothesis import HealthCheck, settings

    # How long an example takes depends on what else the machine does: a test must not fail for it.
    settings.register_profile("recsim_llm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("recsim_llm")


def pytest_configure(config: pytest.Config) -> None:
    """Tests run in random order (pytest-randomly) and seed themselves: a hidden seed would hide that one does not."""
    if hasattr(config.option, "randomly_reset_seed"):
        config.option.randomly_reset_seed = False


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how to run the tests in this order again; with -q pytest prints no header."""
    seed = getattr(config.option, "randomly_seed", None)
    if seed is not None and config.pluginmanager.hasplugin("randomly") and config.option.verbose < 0:
        terminalreporter.write_line(f"The order of these tests: --randomly-seed={seed}")


@pytest.fixture(scope="session", autouse=True)
def answers_of_nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models and data of the user's cache, without its answers: a test asks, and leaves nothing behind."""
    from recsim_llm.fetch import cache_dir

    home, real = tmp_path_factory.mktemp("home"), cache_dir()
    for name in ("downloads", "models", "wheels"):
        (real / name).mkdir(parents=True, exist_ok=True)
        (home / name).symlink_to(real / name, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSIM_LLM_HOME", str(home))
        yield
