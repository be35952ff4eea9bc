"""Processes of a Ray cluster that write shards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from rag.core.errors import CallFailed, InputError, ModelError, RagError
from rag.core.extras import require
from rag.core.protocols import Embedder
from rag.indexes.shards import ShardPlan, ShardWriter, Unit, UnitReport

_STARTING = 600.0
"""Seconds in which all workers have to be there, their embedders loaded."""
_SMALLEST_OBJECT_STORE = 128_000_000


@dataclass(frozen=True, slots=True)
class Workers:
    """The processes that embed.

    Args:
        count: How many.
        address: The cluster: 'auto' for the one that this machine belongs to, 'HOST:PORT' or
            'ray://HOST:PORT'; None starts one on this machine, which ends with the call.
        gpus: GPUs a worker, 0.5 for two workers on one; 0 embeds on the CPU.

    Raises:
        InputError: There are fewer than 1 workers or than 0 GPUs.
    """

    count: int
    address: str | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.count < 1 or self.gpus < 0:
            raise InputError(f"{self.count} workers with {self.gpus:g} GPUs each; give 1 or more")


class Failure(NamedTuple):
    """Why a unit was not written.

    Args:
        reason: Why.
        final: Whether the next attempt would end the same way.
    """

    reason: str
    final: bool


class _Worker:
    """What runs in a process of the cluster. Errors return as data: not all can be pickled."""

    def __init__(self, load: Callable[[], Embedder], plan: ShardPlan) -> None:
        self._failure: str | None = None
        try:
            embedder = load()
            plan.manifest.check(plan.folder, embedder)
            self._writer = ShardWriter(embedder, plan)
        except RagError as error:
            self._failure = str(error)

    def failure(self) -> str | None:
        """Say why the embedder could not be loaded; None if it was."""
        return self._failure

    def write(self, unit: Unit) -> UnitReport | Failure:
        """Write the shards of a unit."""
        try:
            return self._writer.write(unit)
        except RagError as error:
            return Failure(str(error), final=isinstance(error, InputError))


class WorkerPool:
    """Workers, each of which has one unit at a time.

    Args:
        ray: The module.
        workers: How many, and where.
        load: Loads the embedder; each worker calls it once.
        plan: What shards are made with.

    Attributes:
        restarts: Workers that died and were replaced.

    Raises:
        ModelError: A worker cannot load the embedder, or the cluster has no room for all.
    """

    def __init__(
        self, ray: Any, workers: Workers, load: Callable[[], Embedder], plan: ShardPlan
    ) -> None:
        self._ray = ray
        self._remote = ray.remote(_Worker).options(num_cpus=1, num_gpus=workers.gpus)
        self._arguments = load, ray.put(plan)
        self._idle = [self._remote.remote(*self._arguments) for _ in range(workers.count)]
        self._busy: dict[Any, tuple[Any, Unit]] = {}
        self.restarts = 0
        self._check()

    @property
    def has_idle(self) -> bool:
        """Whether a worker waits for a unit."""
        return bool(self._idle)

    @property
    def has_busy(self) -> bool:
        """Whether a worker has a unit."""
        return bool(self._busy)

    def give(self, unit: Unit) -> None:
        """Give a unit to an idle worker."""
        worker = self._idle.pop()
        self._busy[worker.write.remote(unit)] = worker, unit

    def wait(self) -> tuple[Unit, UnitReport | Failure]:
        """Wait for a worker, and return its unit and what became of it."""
        (done,), _ = self._ray.wait(list(self._busy), num_returns=1)
        worker, unit = self._busy.pop(done)
        try:
            outcome: UnitReport | Failure = self._ray.get(done)
        except self._ray.exceptions.RayError as error:
            # It was killed, its machine is gone, or something unforeseen was raised in it.
            outcome = Failure(f"its worker ended ({type(error).__name__})", final=False)
            self._ray.kill(worker)
            worker = self._remote.remote(*self._arguments)
            self.restarts += 1
        self._idle.append(worker)
        return unit, outcome

    def _check(self) -> None:
        asked = [worker.failure.remote() for worker in self._idle]
        loaded, late = self._ray.wait(asked, num_returns=len(asked), timeout=_STARTING)
        for failure in self._ray.get(loaded):
            if failure is not None:
                raise ModelError(f"the workers cannot load the embedder: {failure}")
        if late:
            raise ModelError(
                f"{len(late)} of {len(asked)} workers have not started within {_STARTING:.0f} s; "
                f"the cluster has {self._ray.cluster_resources()}; ask for fewer"
            )


@contextmanager
def cluster(workers: Workers, shared_bytes: int) -> Iterator[Any]:
    """Yield the module `ray`, connected; what was started ends with the block.

    Where this process is connected to a cluster already, that one is used.

    Args:
        workers: How many there will be, and where.
        shared_bytes: What they share in memory.

    Raises:
        CallFailed: The cluster cannot be reached or broke down.
        MissingExtra: Ray is not installed.
    """
    # These are read when Ray is imported. Nothing is reported to anyone, and only this machine can
    # reach a cluster of its own.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if workers.address is None:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # Ray warns where this is not stated: workers without GPUs see none.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    ray = require("ray", extra="ray", needed_for="embedding on many processes")
    # It would print that a worker died to standard output; `WorkerPool` sees it anyway.
    ray._private.worker._worker_logs_enabled = False
    if ray.is_initialized():
        yield ray
        return
    local: dict[str, Any] = {
        "num_cpus": workers.count,
        "include_dashboard": False,
        "object_store_memory": _SMALLEST_OBJECT_STORE + 2 * shared_bytes,
    }
    try:
        ray.init(
            address=workers.address or "local",
            log_to_driver=False,
            logging_level="ERROR",
            **({} if workers.address else local),
        )
        try:
            yield ray
        finally:
            ray.shutdown()
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise CallFailed(
            f"Ray at {workers.address or 'this machine'}",
            f"the cluster cannot be used ({type(error).__name__}); run the same command again",
        ) from error
