"""What the service consists of, and how it is opened and closed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool

from rag.core.async_engine import AsyncEngine
from rag.core.errors import InputError
from rag.indexes.manifest import MANIFEST_NAME
from rag.service.admission import Admission
from rag.service.answer_log import AnswerLog
from rag.service.answering import Answering
from rag.service.daily_tokens import DailyTokens
from rag.service.database import Database
from rag.service.job_store import JobStore
from rag.service.jobs import Jobs
from rag.service.keys import Keys
from rag.service.library import Library
from rag.service.metrics import Metrics
from rag.service.planning import Planner
from rag.service.rates import Rates
from rag.service.settings import Settings
from rag.service.uploads import Uploads
from rag.service.web_search import open_web

if TYPE_CHECKING:
    from rag.core.protocols import LLM, Embedder


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running service.

    Args:
        settings: How it is run.
        embedder: Embeds new collections, and queries.
        llm: The language model; None for none.
        engine: Runs all programs, in batches over all requests.
        database: The service's own records.
        library: The collections.
        uploads: Uploaded files that wait to be indexed.
        jobs: Work in the background.
        metrics: What it counts.
        keys: Who may use it.
        rates: How many requests a minute each sent.
        daily_tokens: What each key uses in a day.
        admission: Which requests are worked on, and which wait.
        answering: Answers questions.
        planner: Says what a budget would be spent on.
        answer_log: The latest answers, and what people said of them.
    """

    settings: Settings
    embedder: Embedder
    llm: LLM | None
    engine: AsyncEngine
    database: Database
    library: Library
    uploads: Uploads
    jobs: Jobs
    metrics: Metrics
    keys: Keys
    rates: Rates
    daily_tokens: DailyTokens
    admission: Admission
    answering: Answering
    planner: Planner
    answer_log: AnswerLog


@asynccontextmanager
async def opened(
    settings: Settings, sources: Sequence[Path], embedder: Embedder, llm: LLM | None
) -> AsyncIterator[Service]:
    """Open a service, and close it in the end.

    Args:
        settings: How it is run.
        sources: Collections to serve beside those of its folder, and folders of documents to
            follow, each under its own name.
        embedder: Embeds new collections, and queries.
        llm: The language model; None for none.

    Raises:
        CollectionError: A collection cannot be opened.
        InputError: A source is neither a collection nor a folder.
    """
    database = Database(settings.data / "service.sqlite")
    library = Library(
        database, settings.data / "collections", embedder, read_only=settings.read_only
    )
    uploads = Uploads(settings.data / "uploads", settings.limits)
    jobs = Jobs(JobStore(database), library, uploads)
    try:
        library.open()
        for source in sources:
            _add(library, source)
        if not settings.read_only:
            jobs.start()
        with open_web(settings, embedder) as web:
            engine = AsyncEngine()
            metrics = Metrics()
            daily_tokens = DailyTokens(database, engine.meter)
            answering = Answering(settings, engine, library, llm, web, daily_tokens, metrics)
            yield Service(
                settings=settings,
                embedder=embedder,
                llm=llm,
                engine=engine,
                database=database,
                library=library,
                uploads=uploads,
                jobs=jobs,
                metrics=metrics,
                keys=Keys(database),
                rates=Rates(),
                daily_tokens=daily_tokens,
                admission=Admission(settings.limits.running, settings.limits.waiting),
                answering=answering,
                planner=Planner(settings.answers, answering.offered, llm),
                answer_log=AnswerLog(database, settings.answers.keep),
            )
    finally:
        await run_in_threadpool(jobs.stop)
        library.close()


def name_of(path: Path) -> str:
    """Return the name under which a collection or a folder of documents is served."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", path.name).strip("-_")
    return name[:64] or "documents"


def _add(library: Library, source: Path) -> None:
    path = source.resolve()
    name = name_of(path)
    if not path.is_dir():
        raise InputError(f"{source} is neither a collection nor a folder of documents")
    if (path / MANIFEST_NAME).exists():
        library.add(name, path)
    elif name not in library:
        library.create(name, path)
    elif library[name].folder != path:
        raise InputError(
            f"{source}: there is a collection '{name}' already, of "
            f"{library[name].folder or 'documents that were uploaded'}; rename the folder, or give "
            "another --data"
        )
