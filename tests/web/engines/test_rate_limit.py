import asyncio

from rag.web.engines.rate_limit import RateLimit


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def turns(limit: RateLimit, count: int) -> None:
    async def take() -> None:
        await asyncio.gather(*(limit.turn() for _ in range(count)))

    asyncio.run(take())


def test_turns_are_spaced() -> None:
    time = Time()
    limit = RateLimit(4.0, time, time.sleep)
    turns(limit, 4)
    assert time.slept == [0.25, 0.5, 0.75]


def test_time_that_passed_is_not_saved_up() -> None:
    time = Time()
    limit = RateLimit(4.0, time, time.sleep)
    turns(limit, 1)
    time.now += 60
    turns(limit, 3)
    assert time.slept == [0.25, 0.5]
