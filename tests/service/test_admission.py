"""So many requests are worked on, so many wait, in order; others are refused."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import StreamingResponse

from rag.service.admission import Admission, Place
from rag.service.dependencies import Admitted, Reader
from rag.service.errors import ApiError
from tests.service.running import RunningService


class Gate:
    """A service with a place, two that may wait, and routes that end when they are told to."""

    def __init__(self, running: RunningService) -> None:
        self.running = running
        self.open = threading.Event()
        self.entered: list[str] = []
        running.app.get("/held/{name}")(self._held)
        running.app.get("/streamed")(self._streamed)

    def _held(self, caller: Reader, place: Admitted, name: str) -> str:
        self.entered.append(name)
        assert self.open.wait(30)
        return name

    def _streamed(self, caller: Reader, place: Admitted) -> StreamingResponse:
        def pieces() -> Iterator[str]:
            yield "begun"
            assert self.open.wait(30)
            yield "ended"

        return StreamingResponse(pieces(), media_type="text/plain")

    def get(self, name: str) -> httpx2.Response:
        return self.running.client.get(f"/held/{name}")

    def counts(self) -> tuple[int, int]:
        admission = self.running.service.admission
        return admission.running, admission.waiting

    def until(self, counts: tuple[int, int]) -> None:
        until(lambda: self.counts() == counts)


def until(true: Callable[[], bool]) -> None:
    for _ in range(3000):
        if true():
            return
        time.sleep(0.01)
    pytest.fail("it did not come to be")


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    running = RunningService(tmp_path, limits={"running": 1, "waiting": 2})
    gate = Gate(running)
    with running:
        yield gate
        gate.open.set()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def fill(gate: Gate, pool: ThreadPoolExecutor) -> list[Future[httpx2.Response]]:
    """Send a request that is worked on and two that wait, in order."""
    sent = []
    for number, counts in enumerate([(1, 0), (1, 1), (1, 2)]):
        sent.append(pool.submit(gate.get, str(number)))
        gate.until(counts)
    return sent


def test_what_is_too_much_is_refused_and_the_rest_is_done_in_order(
    gate: Gate, pool: ThreadPoolExecutor
) -> None:
    sent = fill(gate, pool)
    refused = gate.get("one-too-many")
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "overloaded"
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert gate.running.client.get("/v1/collections").status_code == 200
    gate.open.set()
    assert [each.result().json() for each in sent] == ["0", "1", "2"]
    assert gate.entered == ["0", "1", "2"]
    gate.until((0, 0))
    assert gate.get("later").status_code == 200


def test_a_client_that_leaves_while_it_waits_makes_room(
    gate: Gate, pool: ThreadPoolExecutor
) -> None:
    first = pool.submit(gate.get, "first")
    gate.until((1, 0))
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.get(f"{gate.running.url}/held/impatient", timeout=0.2)
    gate.until((1, 0))
    last = pool.submit(gate.get, "last")
    gate.until((1, 1))
    gate.open.set()
    assert [first.result().json(), last.result().json()] == ["first", "last"]
    assert gate.entered == ["first", "last"]
    gate.until((0, 0))


def test_a_stream_holds_its_place_to_its_end(gate: Gate, pool: ThreadPoolExecutor) -> None:
    with gate.running.client.stream("GET", "/streamed") as reply:
        pieces = reply.iter_text()
        assert next(pieces) == "begun"
        assert gate.counts() == (1, 0)
        waits = pool.submit(gate.get, "waits")
        gate.until((1, 1))
        assert gate.entered == []
        gate.open.set()
        assert next(pieces) == "ended"
    assert waits.result().json() == "waits"
    gate.until((0, 0))


def test_a_request_that_fails_gives_its_place_back(gate: Gate) -> None:
    @gate.running.app.get("/fails")
    def fails(caller: Reader, place: Admitted) -> None:
        raise KeyError("it is broken")

    for _ in range(3):
        assert gate.running.client.get("/fails").status_code == 500
    assert gate.counts() == (0, 0)


def test_strangers_do_not_wait_in_line(gate: Gate, pool: ThreadPoolExecutor) -> None:
    sent = fill(gate, pool)
    gate.running.service.keys.create("alice", ["read"])
    assert gate.get("stranger").status_code == 401
    gate.open.set()
    assert [each.result().status_code for each in sent] == [200] * 3


@given(places=st.integers(1, 3), most_waiting=st.integers(0, 3), moves=st.lists(st.integers(-1, 9)))
def test_places_are_granted_in_order_and_never_lost(
    places: int, most_waiting: int, moves: list[int]
) -> None:
    admission = Admission(places, most_waiting)
    held: list[Place] = []
    for move in moves:
        if move >= 0 and held:
            admission.give_back(held.pop(move % len(held)))
        elif len(held) < places + most_waiting:
            held.append(admission.ask())
        else:
            with pytest.raises(ApiError, match="as many requests as it can take"):
                admission.ask()
        granted = [place.granted.is_set() for place in held]
        assert granted == [True] * min(places, len(held)) + [False] * (len(held) - sum(granted))
        assert (admission.running, admission.waiting) == (sum(granted), len(held) - sum(granted))
