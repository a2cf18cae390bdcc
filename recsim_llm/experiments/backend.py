"""Opens the language model of a job: where it runs, its budget, and this machine's answer cache around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from recsim_llm.checked import Count, NotNegative, Text, check_fields
from recsim_llm.errors import ConfigError
from recsim_llm.fetch import cache_dir
from recsim_llm.language import CachedLLM, OpenAILLM, make_llm
from recsim_llm.language.backends.openai.openai_backend import check_url, own_server
from recsim_llm.language.backends.ray.ray_backend import RayLLM
from recsim_llm.language.protocol import LLM
from recsim_llm.language.wrappers.budget import Budget, BudgetLLM
from recsim_llm.language.wrappers.prefix_cache import PrefixMeter
from recsim_llm.spec import KEY_ENV, KEY_VARIABLE, parse_spec

_CHUNK = 512
"""Prompts between two commits to the answer cache, for one engine in this process."""
_SERVER_CHUNK = 8_192
"""Prompts between two commits for a server: many requests are in flight, and each commit waits for the last one."""


@dataclass(frozen=True, slots=True)
class Engines:
    """Where the language model runs. This affects the speed of a run, not its results.

    Attributes:
        ray: '' for this process; 'local', 'auto' (the Ray cluster that this machine belongs to), or a cluster's address
            (docs/ray.md).
        replicas: Copies of the model, with Ray.
        gpus_per_replica: GPUs of each copy, with Ray: 1, a share such as 0.5, or more than 1 for tensor parallel; 0 for
            CPUs.
    """

    ray: Text = ""
    replicas: Count = 1
    gpus_per_replica: NotNegative = 0.0

    def check(self) -> None:
        """Check the options.

        Raises:
            ConfigError: A number out of range, or replicas without Ray.
        """
        check_fields(self)
        if self.gpus_per_replica > 1 and self.gpus_per_replica % 1:
            raise ConfigError(f"--gpus-per-replica is 0, a share of 1, or a whole number; not {self.gpus_per_replica}.")
        if not self.ray and (self.replicas > 1 or self.gpus_per_replica):
            raise ConfigError(
                f"--replicas {self.replicas} and --gpus-per-replica {self.gpus_per_replica:g} are for Ray: add --ray "
                "local, --ray auto, or --ray ADDRESS, or leave them out."
            )


@contextmanager
def open_backend(spec: str, engines: Engines | None = None, budget: Budget | None = None) -> Iterator[LLM]:
    """Open the language model of a job behind the user's answer cache; close it when the context ends.

    Args:
        spec: As `make_llm` takes it.
        engines: Where it runs; default: in this process.
        budget: Limits on what it may cost; default: no limit.

    Raises:
        ConfigError: Engines or budget cannot work.
        LLMError: The model cannot be started, or a server does not answer.
    """
    engines, budget = engines or Engines(), budget or Budget()
    engines.check()
    budget.check()
    with ExitStack() as stack:
        llm = _engine(spec, engines, stack)
        if spec != "uniform":
            llm = stack.enter_context(closing(_cached(PrefixMeter(llm), spec, engines)))
        yield BudgetLLM(llm, budget) if budget.limited else llm


def cached_backend(spec: str) -> LLM:
    """Open the cached model for the rest of the process; nothing closes it earlier."""
    if spec == "uniform":
        return make_llm(spec)
    return _cached(_engine(spec, Engines(), ExitStack()), spec, Engines())


def server_of(spec: str) -> str:
    """The URL of the server that answers for an `openai:` model."""
    return str(parse_spec(spec).options.get("base_url") or own_server())


def check_foreign_spec(spec: str, hosts: Sequence[str]) -> None:
    """Refuse a model spec from a foreign source, such as somebody else's run, if it would use this user's key or code.

    Args:
        spec: As `make_llm` takes it.
        hosts: Hosts, or hosts with ports, that may be sent this user's key.

    Raises:
        ConfigError: It names a server that is neither that of OPENAI_BASE_URL nor among the hosts, chooses which
            variable of the environment is sent as the key, or would run code of the model's folder.
    """
    _, _, options = parse_spec(spec)
    if options.get("trust_remote_code", False) is not False:
        raise ConfigError("The run's model would run Python code of its folder (trust_remote_code). Nothing is run.")
    if options.get(KEY_ENV, KEY_VARIABLE) != KEY_VARIABLE:
        raise ConfigError(
            f"The run chooses which variable of your environment is sent as the key ({KEY_ENV}). From here only "
            f"{KEY_VARIABLE} is; recsim-llm interview takes another on its command line."
        )
    url = server_of(spec)
    check_url(url)
    if "base_url" in options and _place(url) != _place(own_server()) and not _named(url, hosts):
        host = urlsplit(url).netloc
        raise ConfigError(
            f"The run names the server {host}, and you have not: your key would be sent wherever a run says. If you "
            f"trust it, start the dashboard with --interview-host {host}, or set OPENAI_BASE_URL."
        )


def _place(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _named(url: str, hosts: Sequence[str]) -> bool:
    _, host, port = _place(url)
    named = [urlsplit(f"//{each}") for each in hosts]
    return any(each.hostname == host and each.port in {None, port} for each in named)


def _engine(spec: str, engines: Engines, stack: ExitStack) -> LLM:
    if engines.ray:
        return stack.enter_context(closing(_on_ray(spec, engines)))
    llm = make_llm(spec)
    if isinstance(llm, OpenAILLM):
        llm.check()  # one small question, before anything is built on it
    if hasattr(llm, "close"):
        stack.callback(llm.close)
    return llm


def _on_ray(spec: str, engines: Engines) -> RayLLM:
    shared = int(engines.gpus_per_replica) if engines.gpus_per_replica > 1 else 1
    return RayLLM(
        spec,
        engines.ray,
        replicas=engines.replicas,
        gpus_per_replica=engines.gpus_per_replica,
        tensor_parallel=shared,
    )


def _cached(llm: LLM, spec: str, engines: Engines) -> CachedLLM:
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    chunk = _SERVER_CHUNK if spec.startswith("openai:") else _CHUNK * (4 * engines.replicas if engines.ray else 1)
    return CachedLLM(llm, folder / "answers.sqlite", chunk)
