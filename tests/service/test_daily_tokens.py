"""A key uses no more tokens in a day than it may, across requests, restarts and days."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import anyio
import httpx2
import pytest

from rag.core.backends import Backends
from rag.core.budgets import Budget, Meter, Reservation
from rag.core.documents import Document
from rag.core.errors import BudgetExhausted
from rag.core.generation import Prompt, Reply, Sampling
from rag.core.operations import Generate
from rag.core.usage import Usage
from rag.service.access import Caller
from rag.service.daily_tokens import DailyTokens, DayMeter
from rag.service.database import Database
from rag.service.dependencies import Reader, ServiceDep
from rag.service.errors import ApiError
from rag.testing import EchoLLM
from tests.service.running import RunningService
from tests.service.test_access import bearer

QUESTION = "one two three four five six seven eight nine ten"


class SlowLLM(EchoLLM):
    """Writes nothing before it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        self.entered.release()
        assert self.open.wait(30)
        return super().generate(prompts, sampling)


def asking(tmp_path: Path, llm: EchoLLM | None = None) -> RunningService:
    """Return a service with a route that has the model read ten tokens and write two."""
    running = RunningService(tmp_path, llm=llm)

    @running.app.post("/ask")
    async def ask(service: ServiceDep, caller: Reader) -> str:
        program = Generate(Prompt(QUESTION), Sampling(max_tokens=2), stage="read")
        async with service.daily_tokens.meter(caller) as meter:
            reply = await service.engine.run(
                program, within=meter, backends=Backends(llm=service.llm)
            )
        return reply.text

    return running


def ask(running: RunningService, secret: str) -> httpx2.Response:
    return running.client.post("/ask", headers=bearer(secret))


def stored(running: RunningService) -> int:
    with Database(running.service.database.path).read() as connection:
        row = connection.execute("SELECT tokens FROM key_tokens").fetchone()
    return row["tokens"]


def test_input_and_output_count_and_the_day_ends_where_the_budget_does(tmp_path: Path) -> None:
    with asking(tmp_path) as running:
        _, secret = running.service.keys.create("alice", ["read"], tokens_per_day=24)
        _, free = running.service.keys.create("bob", ["read"])
        for used in (12, 24):
            assert ask(running, secret).status_code == 200
            assert stored(running) == used
        refused = ask(running, secret)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "daily_tokens_used"
        assert 1 <= int(refused.headers["Retry-After"]) <= 24 * 3600
        assert ask(running, free).status_code == 200
        assert running.service.engine.usage.input_tokens == 30


def test_a_call_that_would_overrun_what_is_left_is_not_made(tmp_path: Path) -> None:
    with asking(tmp_path) as running:
        _, secret = running.service.keys.create("alice", ["read"], tokens_per_day=20)
        assert ask(running, secret).status_code == 200
        refused = ask(running, secret)
        assert refused.status_code == 422
        assert refused.json()["error"]["code"] == "budget_exhausted"
        assert stored(running) == 12


def test_requests_at_once_do_not_overrun_it_together(tmp_path: Path) -> None:
    llm = SlowLLM()
    with asking(tmp_path, llm) as running, ThreadPoolExecutor(2) as pool:
        _, secret = running.service.keys.create("alice", ["read"], tokens_per_day=19)
        first = pool.submit(ask, running, secret)
        assert llm.entered.acquire(timeout=30)
        assert ask(running, secret).status_code == 422  # the first one's tokens are promised
        llm.open.set()
        assert first.result().status_code == 200
        assert len(llm.calls) == 1
        assert stored(running) == 12


def test_an_answer_makes_do_with_what_is_left(running: RunningService) -> None:
    running.client.post("/v1/collections", json={"name": "towers"})
    collection = running.service.library["towers"].collection
    collection.add([Document("tower", "The tower is 300 metres tall. " * 20)])
    _, secret = running.service.keys.create("alice", ["read"], tokens_per_day=300)
    first, second = (
        running.client.post(
            "/v1/answer",
            headers=bearer(secret),
            json={"question": "How tall is the tower?", "collection": "towers"},
        ).json()
        for _ in range(2)
    )
    assert first["usage"]["calls"] == 1
    assert second["usage"]["calls"] == 0
    assert second["supported"]
    assert second["notes"]
    assert stored(running) == first["usage"]["input_tokens"] + first["usage"]["output_tokens"]


def test_what_was_used_is_known_after_a_restart(tmp_path: Path) -> None:
    with asking(tmp_path) as running:
        _, secret = running.service.keys.create("alice", ["read"], tokens_per_day=24)
        assert ask(running, secret).status_code == 200
    with asking(tmp_path) as running:
        assert ask(running, secret).status_code == 200
        assert ask(running, secret).status_code == 429


ALICE = Caller(key_id="key_alice", tokens_per_day=10)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(tmp_path / "service.sqlite")
    with database.write() as connection:
        connection.execute(
            "INSERT INTO keys VALUES ('key_alice', 'alice', x'00', '[]', NULL, NULL, 10, '', NULL)"
        )
    return database


async def use(daily_tokens: DailyTokens, tokens: int, caller: Caller = ALICE) -> None:
    async with daily_tokens.meter(caller) as meter:
        assert meter
        meter.settle(Reservation(), Usage(input_tokens=tokens), "read")


def test_a_new_day_begins_at_midnight_utc(database: Database) -> None:
    async def days() -> None:
        now = datetime(2026, 2, 28, 23, 59, 30, tzinfo=UTC)
        daily_tokens = DailyTokens(database, Meter(), lambda: now)
        await use(daily_tokens, 10)
        with pytest.raises(ApiError) as refused:
            await use(daily_tokens, 1)
        assert refused.value.code == "daily_tokens_used"
        assert refused.value.headers == {"Retry-After": "31"}
        now = datetime(2026, 3, 1, tzinfo=UTC)
        await use(daily_tokens, 4)

    asyncio.run(days())
    with database.read() as connection:
        rows = connection.execute("SELECT day, tokens FROM key_tokens ORDER BY day").fetchall()
    assert [tuple(row) for row in rows] == [("2026-02-28", 10), ("2026-03-01", 4)]


def test_requests_that_begin_together_share_a_meter(database: Database) -> None:
    async def together() -> None:
        daily_tokens = DailyTokens(database, Meter())
        await asyncio.gather(*(use(daily_tokens, 1) for _ in range(8)))
        async with daily_tokens.meter(ALICE) as meter:
            assert meter
            assert meter.allowance().tokens == 2

    asyncio.run(together())


def test_what_was_used_counts_although_the_client_left(database: Database) -> None:
    async def left() -> None:
        daily_tokens = DailyTokens(database, Meter())

        async def request() -> None:
            async with daily_tokens.meter(ALICE) as meter:
                assert meter
                meter.settle(Reservation(), Usage(input_tokens=7), "read")
                await asyncio.sleep(30)

        async with anyio.create_task_group() as group:  # cancels again and again, as Starlette does
            group.start_soon(request)
            await anyio.wait_all_tasks_blocked()
            await asyncio.sleep(0.05)
            group.cancel_scope.cancel()
        async with DailyTokens(database, Meter()).meter(ALICE) as meter:
            assert meter
            assert meter.allowance().tokens == 3

    asyncio.run(left())


def test_callers_without_a_limit_have_no_meter(database: Database) -> None:
    async def unlimited() -> None:
        for caller in (Caller(), Caller(key_id="key_alice"), Caller(tokens_per_day=10)):
            async with DailyTokens(database, Meter()).meter(caller) as meter:
                assert meter is None

    asyncio.run(unlimited())


def test_a_meter_counts_replies_once_they_are_written() -> None:
    outer = Meter()
    day = DayMeter(Budget(tokens=20), outer)
    call = Reservation(tokens=10, calls=1)
    day.reserve(call, "read")
    assert day.allowance().tokens == 10
    day.settle(call, Usage(input_tokens=10, output_tokens=4, calls=1), "read")
    assert day.allowance().tokens == 6
    assert day.tokens == 14
    with pytest.raises(BudgetExhausted):
        day.reserve(Reservation(tokens=7), "read")
    assert outer.used.input_tokens == 10
