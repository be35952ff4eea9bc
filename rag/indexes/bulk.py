"""Many files into a collection, embedded by many processes.

Workers write shards to a folder that all machines see; the process that holds the collection merges
them. Whatever is killed, the same call goes on from there: shards that are whole are merged first,
and documents that the collection holds are not embedded again.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rag.core.errors import DataError
from rag.core.progress import Progress, silent
from rag.core.protocols import Embedder
from rag.indexes.collection import Collection
from rag.indexes.indexing import AddReport, Embedded
from rag.indexes.manifest import Manifest
from rag.indexes.ray_workers import Failure, WorkerPool, Workers, cluster
from rag.indexes.shards import ShardPlan, Unit, UnitReport, is_whole, shards_in, units
from rag.indexes.transfer import Export
from rag.text import FoundFile, Skipped

_ATTEMPTS = 3
"""How often a unit is tried whose worker dies."""


@dataclass(frozen=True, slots=True)
class FailedUnit:
    """Files that were not embedded; the same call tries them again.

    Args:
        files: The files.
        reason: Why not.
    """

    files: tuple[Path, ...]
    reason: str


@dataclass
class BulkReport:
    """What adding in bulk did.

    Args:
        merged: What was added to the collection; `embedded` counts the vectors that it stored, and
            `unchanged` also what shards of an earlier call brought.
        skipped: What gave no document, and why.
        failed: Files that were not embedded.
        restarts: Workers that died and were replaced.
    """

    merged: AddReport = field(default_factory=AddReport)
    skipped: list[Skipped] = field(default_factory=list)
    failed: list[FailedUnit] = field(default_factory=list)
    restarts: int = 0


def add_in_bulk(
    collection: Collection,
    files: Iterable[FoundFile],
    load: Callable[[], Embedder],
    folder: Path,
    workers: Workers,
    *,
    sensitivity: Sequence[str] = (),
    progress: Progress = silent,
) -> BulkReport:
    """Add the documents of files, embedded by many processes; see `Collection.add`.

    Args:
        collection: The collection, open for writing.
        files: The files; read once, never all held.
        load: Loads the collection's embedder; each worker calls it once.
        folder: Where shards are kept until they are merged. All machines of the cluster see it, and
            the files, under the same names.
        workers: The processes that embed.
        sensitivity: The tags of documents that state none themselves.
        progress: Told of the files that were read, as the stage 'embedding', and of the documents
            that are merged, as 'documents'.

    Raises:
        CallFailed: The cluster cannot be reached or broke down.
        InputError: A document cannot be stored.
        MissingExtra: Ray or pyarrow is not installed.
        ModelError: The workers cannot load the embedder, or the cluster has no room for them.
        ReadOnly: The collection is open for reading only.
        StorageError: The disk refused.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    report = BulkReport()
    left = [each for each in shards_in(folder) if _is_for(collection.manifest, each)]
    report.merged += _merge(collection, left, progress)
    plan = ShardPlan(collection.manifest, folder, collection.content_hashes(), tuple(sensitivity))
    with cluster(workers, plan.known.nbytes) as ray:
        pool = WorkerPool(ray, workers, load, plan)
        done = _embed(pool, units(files), report, progress)
        report.restarts = pool.restarts
    shards = [folder / name for each in done for name in each.shards]
    report.merged += _merge(collection, shards, progress)
    report.merged += AddReport(unchanged=sum(each.unchanged for each in done))
    for each in done:
        report.skipped += each.skipped
    if not report.failed:  # what is whole of those is merged by the next call
        _clear(folder)
    return report


def _is_for(manifest: Manifest, shard: Path) -> bool:
    if not is_whole(shard):
        return False
    try:
        made_with = Export.read(shard).manifest
    except DataError:  # of another version; it is made anew
        return False
    return _passages(made_with) == _passages(manifest)


def _passages(manifest: Manifest) -> tuple[object, ...]:
    """Return what decides the passages and their vectors."""
    return manifest.embedder, manifest.vector_dtype, manifest.passage_tokens, manifest.overlap


def _merge(collection: Collection, shards: Sequence[Path], progress: Progress) -> AddReport:
    """Add what shards hold, in order, and remove them."""

    def contents() -> Iterator[Embedded]:
        for shard in shards:
            yield from Export.read(shard).contents(shard)

    report = collection.add_embedded(contents(), progress=progress)
    for shard in shards:
        shutil.rmtree(shard, ignore_errors=True)
    return report


def _embed(
    pool: WorkerPool, todo: Iterator[Unit], report: BulkReport, progress: Progress
) -> list[UnitReport]:
    """Give each worker a unit at a time until all are done or have failed."""
    done: dict[int, UnitReport] = {}
    attempts: dict[int, int] = {}
    again: deque[Unit] = deque()
    files = 0
    while True:
        while pool.has_idle and (unit := again.popleft() if again else next(todo, None)):
            pool.give(unit)
        if not pool.has_busy:
            return [done[number] for number in sorted(done)]
        unit, outcome = pool.wait()
        if isinstance(outcome, Failure):
            attempts[unit.number] = attempts.get(unit.number, 0) + 1
            if not outcome.final and attempts[unit.number] < _ATTEMPTS:
                again.append(unit)
                continue
            paths = tuple(each.path for each in unit.files)
            report.failed.append(FailedUnit(paths, outcome.reason))
        else:
            done[unit.number] = outcome
        files += len(unit.files)
        progress("embedding", files, None)


def _clear(folder: Path) -> None:
    for shard in shards_in(folder):
        shutil.rmtree(shard, ignore_errors=True)
    with suppress(OSError):  # it holds something else
        folder.rmdir()
