import pytest

from rag.core.budgets import Allowance, Budget, Meter, Reservation
from rag.core.errors import BudgetExhausted, InputError
from rag.core.usage import Prices, Usage


def test_a_limit_below_zero_is_refused() -> None:
    for limits in ({"tokens": -1}, {"seconds": -0.1}, {"cost": float("nan")}):
        with pytest.raises(InputError, match="not at least 0"):
            Budget(**limits)


def test_what_is_promised_cannot_be_promised_again() -> None:
    meter = Meter(Budget(tokens=100))
    meter.reserve(Reservation(tokens=60, calls=1), "read")
    with pytest.raises(BudgetExhausted) as caught:
        meter.reserve(Reservation(tokens=41, calls=1), "judge")
    error = caught.value
    assert (error.kind, error.limit, error.used) == ("tokens", 100, 60)
    assert (error.requested, error.stage) == (41, "judge")
    meter.reserve(Reservation(tokens=40, calls=1), "judge")


def test_settling_gives_back_what_was_not_used() -> None:
    meter = Meter(Budget(tokens=100, calls=2))
    request = Reservation(tokens=90, calls=1)
    meter.reserve(request, "read")
    meter.settle(request, Usage(input_tokens=30, calls=1), "read")
    assert meter.allowance() == Allowance(tokens=70, calls=1)
    assert meter.stages == {"read": Usage(input_tokens=30, calls=1)}


def test_a_refusal_by_an_outer_meter_promises_nothing_inside() -> None:
    outer = Meter(Budget(calls=1))
    inner = Meter(Budget(tokens=10), parent=outer)
    outer.reserve(Reservation(calls=1), "other")
    with pytest.raises(BudgetExhausted, match="1 calls exhausted"):
        inner.reserve(Reservation(tokens=5, calls=1), "read")
    assert inner.allowance() == Allowance(tokens=10, calls=0)


def test_allowance_is_the_least_over_all_meters() -> None:
    outer = Meter(Budget(tokens=50, cost=1.0))
    inner = Meter(Budget(tokens=80, calls=3), parent=outer)
    assert inner.allowance(8192) == Allowance(50, 3, None, 1.0, 8192)


def test_seconds_refuse_a_late_start() -> None:
    now = [10.0]
    meter = Meter(Budget(seconds=5), clock=lambda: now[0])
    now[0] = 14.9
    meter.reserve(Reservation(), "search")
    now[0] = 15.0
    with pytest.raises(BudgetExhausted, match="5 seconds exhausted at stage 'search'"):
        meter.reserve(Reservation(), "search")


def test_calls_that_need_nothing_pass_an_empty_budget() -> None:
    Meter(Budget(tokens=0, calls=0, cost=0)).reserve(Reservation(), "search")


def test_usage_adds_up_field_by_field() -> None:
    total = Usage(3, 1, 2, 1, 0, 0.5, 0.1) + Usage(1, 1, 1, 1, 1, 0.25, 0.2)
    assert total == Usage(4, 2, 3, 2, 1, 0.75, pytest.approx(0.3))
    assert (total.effective_context_length, total.computed_tokens) == (4, 2)


def test_prices_are_per_million_tokens_and_cached_ones_may_be_cheaper() -> None:
    assert Prices(2.0, 8.0).cost(1_000_000, 500_000) == 6.0
    assert Prices(2.0, 8.0, cached=1.0).cost(1_000_000, 0, 400_000) == pytest.approx(1.6)
