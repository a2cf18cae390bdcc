"""Copies of an engine on a Ray cluster behind one `generate`.

Prompts are cut into chunks. Each chunk has a home copy, chosen by the beginning of its contexts, so that an agent's
prompts reach the copy whose prefix cache holds them. An idle copy takes chunks from the copy with the most left.
Answers are returned in prompt order, so neither the number of copies nor their speed changes a result.

Faults: Ray restarts a dead copy and sends its chunks again. A chunk that takes much longer than the others is also
sent to an idle copy, and the first answer counts.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from recsim_llm.errors import ConfigError, LLMError, MissingExtraError
from recsim_llm.language.backends.ray.ray_engine import AnsweredChunk, Engine, error_of, pack_prompts, unpack_answers
from recsim_llm.language.backends.ray.ray_work import Work
from recsim_llm.language.protocol import Usage
from recsim_llm.spec import parse_spec
from recsim_llm.types import Completion, Prompt

_NAMESPACE = "recsim-llm"
_RETRIES = 2
_LOOK_S = 0.5
"""Interval between checks for slow chunks while no answer arrives."""


class RayLLM:
    """A language model whose copies are actors on a Ray cluster.

    Args:
        spec: Model that each copy runs, a spec of `make_llm`.
        address: "local" starts Ray on this machine for this process; "auto" joins the cluster that this machine belongs
            to; else a cluster's address. If this process has joined a cluster already, that one is used.
        replicas: Number of copies.
        gpus_per_replica: GPUs per copy; a share such as 0.5 puts two on one GPU.
        cpus_per_replica: CPU cores per copy; None is 1 beside a GPU, else an equal share of this machine's.
        tensor_parallel: Above 1, a copy of a vllm model is spread over that many GPUs of one machine.
        chunk_size: Most prompts per chunk, 1..4096.
        in_flight: Unanswered chunks per copy: one being computed, the others queued so that it never idles.
        name: Other processes can join the copies by this name (`RayLLM.join`, `--llm ray:NAME`) while this one lives.
        start_timeout_s: Longest wait for all copies to be ready, loading the model included.

    Raises:
        MissingExtraError: Ray is not installed, or a package that the model needs.
        ConfigError: Invalid numbers, or more resources than this machine has.
        LLMError: There is no such cluster, it has no room, or the model cannot be loaded.
    """

    def __init__(
        self,
        spec: str,
        address: str = "local",
        *,
        replicas: int = 1,
        gpus_per_replica: float = 0.0,
        cpus_per_replica: float | None = None,
        tensor_parallel: int = 1,
        chunk_size: int = 256,
        in_flight: int = 2,
        name: str | None = None,
        start_timeout_s: float = 1_800.0,
    ) -> None:
        if min(replicas, chunk_size, in_flight, tensor_parallel) < 1 or chunk_size > 4_096:
            raise ConfigError("replicas, in_flight and tensor_parallel must be at least 1, chunk_size within 1..4096.")
        ray = _import_ray()
        self._ours = _connect(ray, address)
        cpus = cpus_per_replica if cpus_per_replica is not None else _cpus(replicas, gpus_per_replica)
        _check_room(ray, replicas, gpus_per_replica, cpus, address)
        remote = ray.remote(Engine)
        options = {
            "num_cpus": cpus,
            "num_gpus": gpus_per_replica,
            "max_restarts": -1,
            "max_task_retries": _RETRIES,
            "max_concurrency": in_flight + 2,
        }
        spec = _with_tensor_parallel(spec, tensor_parallel)
        actors = []
        for number in range(replicas):
            named = {"name": f"{name}-{number}", "namespace": _NAMESPACE} if name else {}
            try:
                actors.append(remote.options(**options, **named).remote(spec, replicas))
            except ValueError as error:
                raise ConfigError(f"Engines with the name '{name}' are there already. Choose another name.") from error
        self._set_up(actors, chunk_size, in_flight)
        try:
            self._name = self._wait_until_ready(start_timeout_s)
        except BaseException:
            self.close()
            raise

    @classmethod
    def join(cls, name: str) -> RayLLM:
        """Use the copies that another process has started under this name.

        A Ray worker (an env runner of RLlib, for example) uses its own cluster; any other process uses that of
        RAY_ADDRESS, or the one that this machine belongs to.

        Raises:
            MissingExtraError: Ray is not installed.
            LLMError: There is no cluster, or no engines were started under this name.
        """
        ray = _import_ray()
        _connect(ray, os.environ.get("RAY_ADDRESS", "auto"))
        llm = cls.__new__(cls)
        try:
            first = ray.get_actor(f"{name}-0", namespace=_NAMESPACE)
            _, _, replicas = ray.get(first.about.remote())
            actors = [ray.get_actor(f"{name}-{number}", namespace=_NAMESPACE) for number in range(replicas)]
        except ValueError as error:
            raise LLMError(
                f"Nobody has started engines with the name '{name}' on this Ray cluster. Start them with "
                f"RayLLM(SPEC, 'auto', name='{name}') in a process that stays."
            ) from error
        llm._ours = False
        llm._set_up(actors, 256, 2)
        llm._name = llm._wait_until_ready(1_800.0)
        llm._actors_are_ours = False
        return llm

    @property
    def name(self) -> str:
        """Name of the model that the copies run; where they run does not change answers."""
        return self._name

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer every prompt, in order.

        Raises:
            LLMError: The model cannot answer, a chunk has killed its copy three times, or the cluster is gone.
        """
        if not prompts:
            return []
        started = time.perf_counter()
        work = Work(prompts, len(self._actors), self._chunk_size)
        completions: list[Completion] = [Completion("")] * len(prompts)
        with _faults_explained():
            while work.open:
                self._send(work, prompts)
                for chunk, answered in self._receive(work):
                    self._count(answered)
                    answers = unpack_answers(answered.columns)
                    for place, answer in zip(work.chunks[chunk], answers, strict=True):
                        completions[place] = answer
        with self._lock:
            self.usage.seconds += time.perf_counter() - started
        return completions

    def close(self) -> None:
        """Stop the copies that this object has started, and Ray, if this object started it."""
        ray = _import_ray()
        if self._actors_are_ours and ray.is_initialized():
            for actor in self._actors:
                ray.kill(actor)
        if self._ours:
            ray.shutdown()
            self._ours = False

    def processes(self) -> list[int]:
        """Process ids of the copies, each on its own machine; a changed id means that the copy was restarted."""
        ids: list[int] = _import_ray().get([actor.process.remote() for actor in self._actors])
        for replica, life in enumerate(ids):
            self._notice_restart(replica, life)
        return ids

    def _set_up(self, actors: list[Any], chunk_size: int, in_flight: int) -> None:
        self._actors, self._actors_are_ours = actors, True
        self._chunk_size, self._in_flight = chunk_size, in_flight
        self._lives: dict[int, int] = {}
        self._lock = threading.Lock()
        self.usage = Usage()

    def _wait_until_ready(self, timeout_s: float) -> str:
        ray, names = _import_ray(), set[str]()
        asked = [actor.about.remote() for actor in self._actors]
        ready, late = ray.wait(asked, num_returns=len(asked), timeout=timeout_s)
        with _faults_explained():
            for error, name, _ in ray.get(ready):
                if error is not None:
                    raise error_of(*error)
                names.add(name)
        if late:
            raise LLMError(
                f"{len(late)} of {len(asked)} copies of the model were not ready after {timeout_s:,.0f} s. "
                "`ray status` shows what the cluster lacks; fewer --replicas or fewer --gpus-per-replica need less."
            )
        if len(names) > 1:
            raise LLMError(
                f"The copies run different models or precisions: {', '.join(sorted(names))}. Machines of one cluster "
                "must have the same model and kind of device; set dtype=... in the model's options."
            )
        # Recorded now, so that a copy that dies before its first answer counts as restarted too.
        self.processes()
        return names.pop()

    def _send(self, work: Work, prompts: Sequence[Prompt]) -> None:
        for replica, actor in enumerate(self._actors):
            while work.busy(replica) < self._in_flight and (chunk := work.take(replica)) is not None:
                asked = [prompts[place] for place in work.chunks[chunk]]
                if any(sent.chunk == chunk for sent in work.sent.values()):
                    self.usage.hedged += len(asked)
                work.send(actor.answer.remote(pack_prompts(asked)), replica, chunk)

    def _receive(self, work: Work) -> Iterator[tuple[int, AnsweredChunk]]:
        ray = _import_ray()
        done, _ = ray.wait(list(work.sent), timeout=_LOOK_S)
        for reference in done:
            sent = work.receive(reference)
            if sent.chunk not in work.open:
                continue  # another copy of the chunk was answered first
            answered: AnsweredChunk = ray.get(reference)
            if answered.error is not None:
                raise error_of(*answered.error)
            self._notice_restart(sent.replica, answered.life)
            work.finish(sent)
            yield sent.chunk, answered

    def _notice_restart(self, replica: int, life: int) -> None:
        if self._lives.setdefault(replica, life) != life:
            self._lives[replica] = life
            self.usage.restarts += 1

    def _count(self, answered: AnsweredChunk) -> None:
        with self._lock:
            for name, value in answered.spent.items():
                if name != "seconds":  # the sum over parallel copies is not wall time
                    setattr(self.usage, name, getattr(self.usage, name) + type(getattr(self.usage, name))(value))


def _import_ray() -> Any:
    # Usage reports are off, and Ray's deprecation notices do not concern users of this library.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray", "Engines on a Ray cluster") from error
    return ray


def _connect(ray: Any, address: str) -> bool:
    """Join or start a cluster; return True if it was started here."""
    if ray.is_initialized():
        return False
    common = {"log_to_driver": False, "logging_level": "ERROR", "namespace": _NAMESPACE}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if address == "local":
                ray.init("local", include_dashboard=False, **common)
                return True
            ray.init(address, **common)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise LLMError(
            f"No Ray cluster was found at '{address}' ({_first_line(error)}). Start one with `ray start --head`, give "
            "its address, or take --ray local."
        ) from error
    return False


def _cpus(replicas: int, gpus_per_replica: float) -> float:
    return 1.0 if gpus_per_replica else float(max(1, (os.cpu_count() or 1) // replicas))


def _check_room(ray: Any, replicas: int, gpus: float, cpus: float, address: str) -> None:
    """Refuse more than this machine has; other clusters are not checked, as they may grow (autoscaling)."""
    if address != "local":
        return
    there = ray.cluster_resources()
    for what, needed, found in (("GPU", gpus, there.get("GPU", 0.0)), ("CPU core", cpus, there.get("CPU", 0.0))):
        if replicas * needed > found:
            raise ConfigError(
                f"{replicas} copies with {needed:g} {what}s each need {replicas * needed:g}, and this machine has "
                f"{found:g}. Take fewer --replicas, or fewer --gpus-per-replica."
            )


def _with_tensor_parallel(spec: str, tensor_parallel: int) -> str:
    """Add the option to the spec if the backend is vLLM and the spec does not set it."""
    kind, _, options = parse_spec(spec)
    if tensor_parallel == 1 or "tensor_parallel" in options:
        return spec
    if kind != "vllm":
        raise ConfigError(f"Only vllm models are spread over several GPUs; '{spec}' is not one.")
    return f"{spec}{'&' if '?' in spec else '?'}tensor_parallel={tensor_parallel}"


@contextmanager
def _faults_explained() -> Iterator[None]:
    from ray.exceptions import RayActorError, RayError, RayTaskError

    try:
        yield
    except RayTaskError:
        raise  # a bug in an engine's code: its own traceback is the most useful
    except RayActorError as error:
        raise LLMError(
            f"A copy of the model died {_RETRIES + 1} times over the same prompts ({_first_line(error)}). What is "
            "recorded stays; go on with --resume. Out of memory: a smaller chunk_size or max_model_len."
        ) from error
    except (RayError, ConnectionError) as error:
        raise LLMError(
            f"The Ray cluster is gone ({_first_line(error)}). What is recorded stays; start it and go on with --resume."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().split("\n", maxsplit=1)[0] or type(error).__name__)[:300]
