"""Requests above a limit are refused, and say when to come again."""

from pathlib import Path

import pytest
from starlette.requests import Request

from rag.service.rates import address
from tests.service.running import RunningService
from tests.service.test_access import bearer


def statuses(running: RunningService, count: int, secret: str | None = None) -> list[int]:
    """Return what requests are answered with, one after the other."""
    headers = bearer(secret) if secret else {}
    return [
        running.client.get("/v1/collections", headers=headers).status_code for _ in range(count)
    ]


def test_without_keys_an_address_has_the_limit_of_the_settings(tmp_path: Path) -> None:
    with RunningService(tmp_path, limits={"requests_per_minute": 3}) as running:
        # Where the window slides on meanwhile, one more than three may be let in.
        answered = statuses(running, 5)
        assert answered[:3] == [200] * 3
        refused = running.client.get("/v1/collections")
        assert answered[4] == refused.status_code == 429
        assert refused.json()["error"]["code"] == "rate_limited"
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert running.client.get("/health").status_code == 200
        assert running.client.get("/ready").status_code == 200


def test_a_key_has_a_limit_of_its_own(tmp_path: Path) -> None:
    with RunningService(tmp_path, limits={"requests_per_minute": 3}) as running:
        _, few = running.service.keys.create("few", ["read"])
        _, many = running.service.keys.create("many", ["read"], requests_per_minute=20)
        assert statuses(running, 5, few)[-1] == 429
        assert statuses(running, 20, many) == [200] * 20
        assert statuses(running, 2, many)[-1] == 429


def test_whoever_tries_keys_is_refused_and_whoever_has_one_is_let_in(
    running: RunningService,
) -> None:
    _, secret = running.service.keys.create("alice", ["read"])
    assert statuses(running, 62, "rag_guess")[:60] == [401] * 60
    assert statuses(running, 1, "rag_guess") == [429]
    assert statuses(running, 1, secret) == [200]
    assert statuses(running, 1) == [401]


@pytest.mark.parametrize(
    ("client", "place"),
    [
        (("192.0.2.7", 80), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 80), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 80), "fe80::/64"),
        (("/run/service.sock", 0), "/run/service.sock"),
        (None, ""),
    ],
)
def test_an_ipv6_network_is_one_place(client: tuple[str, int] | None, place: str) -> None:
    assert address(Request({"type": "http", "client": client})) == place
