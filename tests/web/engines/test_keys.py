"""Keys come from the environment, travel encrypted, and are never shown."""

import logging
import traceback

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.core.errors import EngineFailed, InputError
from rag.core.web import WebQuery
from rag.web.engines import load_engine
from tests.web.engines.conftest import Open
from tests.web.engines.servers import KEY, Reply

ENV = {
    "brave": "BRAVE_API_KEY",
    "tavily": "TAVILY_API_KEY",
    "serper": "SERPER_API_KEY",
    "google": "GOOGLE_API_KEY",
}


@pytest.mark.parametrize("name", ENV)
def test_a_missing_key_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV[name], " ")
    with pytest.raises(EngineFailed, match=f"put one into {ENV[name]}") as caught:
        load_engine(name)
    assert caught.value.cause == "key"


def test_a_missing_engine_id_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_CSE_ID")
    with pytest.raises(EngineFailed, match="put one into GOOGLE_CSE_ID"):
        load_engine("google")


@pytest.mark.parametrize("name", ENV)
def test_no_key_travels_in_the_clear(name: str) -> None:
    with pytest.raises(InputError, match="unencrypted to engine") as caught:
        load_engine(f"{name}@http://engine.example")
    assert KEY not in str(caught.value)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=st.sampled_from(sorted(ENV)),
    status=st.sampled_from([200, 302, 400, 401, 403, 404, 418, 422, 429, 500]),
    before=st.sampled_from(["", "<html>", '{"error": {"message": "', '{"detail": "', "x" * 290]),
    after=st.sampled_from(["", '"}}', '"}', "</html>"]),
    header=st.sampled_from(["Location", "Retry-After", "X-Echo", "cf-mitigated"]),
)
def test_an_engine_that_repeats_the_key(
    shared: Open,
    caplog: pytest.LogCaptureFixture,
    name: str,
    status: int,
    before: str,
    after: str,
    header: str,
) -> None:
    caplog.set_level(logging.INFO)
    server, engine = shared(name, max_attempts=1)
    server.script = [Reply(status, f"{before}{KEY}{after}".encode(), headers={header: KEY})]
    with pytest.raises(EngineFailed) as caught:
        engine.search_web([WebQuery("heron")])
    shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert KEY not in shown + caplog.text
    assert KEY[:-1] not in shown


@pytest.mark.parametrize("name", ENV)
def test_the_key_is_not_in_the_log_of_a_search(
    name: str, shared: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server, engine = shared(name)
    assert engine.search_web([WebQuery("heron")])[0].results == ()
    assert any(KEY in value for value in server.requests[0].headers.values())
    assert KEY not in caplog.text
