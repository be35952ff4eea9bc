"""What an engine can answer but results, and what comes of it."""

import gc
import threading

import pytest

from rag.core.errors import BatchError, EngineFailed, InputError
from rag.core.web import WebQuery
from rag.testing.search_engine_conformance import PAGES
from rag.web.engines import http, load_engine
from rag.web.engines.http import HTTPSearchEngine
from tests.web.engines.conftest import Open
from tests.web.engines.servers import APIS, KEY, Reply, eventually, page, said

HERON = WebQuery("heron")

CLOUDFLARE = page("<html><script src='/cdn-cgi/challenge-platform/x.js'></script>", 403)
FORBIDDEN = page("<!doctype html><title>403 Forbidden</title><h1>Forbidden</h1>", 403)


def failure(engine: HTTPSearchEngine, query: WebQuery = HERON) -> EngineFailed:
    with pytest.raises(EngineFailed) as caught:
        engine.search_web([query])
    assert caught.value.engine == engine.name
    return caught.value


PASSING = {
    "busy": (page("Too Many Requests", 429), "rate_limited", "Too Many Requests; .*per_second"),
    "busy for seconds": (Reply(429, headers={"Retry-After": "0.02"}), "rate_limited", "429"),
    "broken": (said({"error": "oops"}, 500), "unreachable", "500: oops"),
    "bad gateway": (page("<html><h1>nginx</h1>", 502), "unreachable", "502: "),
    "overloaded": (Reply(503), "unreachable", "503"),
    "dropped": (Reply(length=50), "unreachable", "RemoteProtocolError"),
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_may_pass_is_tried_again(fault: str, shared: Open) -> None:
    reply, cause, reason = PASSING[fault]
    server, engine = shared("brave", PAGES, price=2.0)
    before = len(server.requests)
    server.script = [reply, reply]
    (found,) = engine.search_web([HERON])
    assert len(found.results) == 9
    assert (found.usage.searches, found.usage.retries, found.usage.cost) == (1, 2, 2.0)
    server.script = [reply] * 3
    error = failure(engine)
    assert (error.cause, error.attempts) == (cause, 3)
    with pytest.raises(EngineFailed, match=f"{reason}.*after 3 attempts"):
        raise error
    assert len(server.requests) - before == 6


LASTING = {
    "brave: wrong key": (
        "brave",
        said({"error": {"code": "X", "detail": "The subscription token is invalid."}}, 422),
        "key",
        "token is invalid.; the key is taken from BRAVE_API_KEY",
    ),
    "brave: wrong query": (
        "brave",
        said({"type": "ErrorResponse", "error": {"detail": "Unable to validate"}}, 422),
        "blocked",
        "422: Unable to validate",
    ),
    "tavily: wrong key": (
        "tavily",
        said({"detail": {"error": "Unauthorized: missing or invalid API key."}}, 401),
        "key",
        "invalid API key.; the key is taken from TAVILY_API_KEY",
    ),
    "tavily: plan used up": ("tavily", said({"detail": {}}, 432), "key", "432"),
    "serper: wrong key": (
        "serper",
        said({"message": "Unauthorized.", "statusCode": 403}, 403),
        "key",
        "403: Unauthorized",
    ),
    "serper: no credits": ("serper", said({"message": "Not enough credits"}, 400), "key", "credit"),
    "google: wrong key": (
        "google",
        said({"error": {"code": 400, "message": "API key not valid."}}, 400),
        "key",
        "API key not valid.; the key is taken from GOOGLE_API_KEY",
    ),
    "searxng: no JSON": ("searxng", FORBIDDEN, "blocked", "403 Forbidden.*formats: .html, json."),
    "searxng: behind a login": ("searxng", Reply(401), "blocked", "401"),
    "forbidden": ("brave", FORBIDDEN, "blocked", "403: 403 Forbidden"),
    "challenge": ("brave", CLOUDFLARE, "captcha", "CAPTCHA"),
    "challenge by header": (
        "tavily",
        Reply(503, headers={"cf-mitigated": "challenge"}),
        "captcha",
        "CAPTCHA",
    ),
    "challenge that looks well": ("serper", page("<p>Prove you are human"), "captcha", "CAPTCHA"),
    "web page": ("serper", page("<!doctype html><p>Hi"), "malformed", "'<!doctype html><p>Hi'"),
    "cut off": ("serper", Reply(body=b'{"organic": ['), "malformed", "not answer with a JSON"),
    "too deep": ("serper", Reply(body=b"[" * 10**5), "malformed", "not answer with a JSON"),
    "not an object": ("serper", said([1]), "malformed", "JSON object but '.1.'"),
    "another shape": ("serper", said({"results": []}), "malformed", "KeyError.'organic'"),
    "another shape inside": ("brave", said({"web": []}), "malformed", "another shape"),
    "odd results": ("tavily", said({"results": [3]}), "malformed", "another shape"),
    "odd URLs": ("tavily", said({"results": [{"url": 3}]}), "malformed", "another shape"),
    "no URLs": ("google", said({"items": [{"title": "x"}]}), "malformed", "KeyError.'link'"),
    "odd titles": ("serper", said({"organic": [{"link": "x", "title": 3}]}), "malformed", "shape"),
    "nothing of Google's": ("google", said({"kind": "x"}), "malformed", "KeyError.'items'"),
    "error as answer": ("brave", said({"error": "x"}), "malformed", "KeyError.'type'"),
    "odd silence": (
        "searxng",
        said({"results": [], "unresponsive_engines": [["google"]]}),
        "malformed",
        "shape",
    ),
    "odd characters": (
        "tavily",
        said({"detail": "\x1b[2J\ud800no\nway"}, 418),
        "blocked",
        r"418: \[2Jno way$",
    ),
    "redirect": (
        "serper",
        Reply(302, headers={"Location": "http://evil.example/"}),
        "malformed",
        "redirects, here to http://evil.example/, are not followed",
    ),
    "no such path": ("tavily", said({"detail": "Not Found"}, 404), "malformed", "base URL right"),
    "an absurd pause": (
        "brave",
        Reply(429, headers={"Retry-After": "3600"}),
        "rate_limited",
        "3600 s, longer than the 60 s that are waited",
    ),
}


@pytest.mark.parametrize("fault", LASTING)
def test_what_lasts_fails_at_once(fault: str, shared: Open) -> None:
    name, reply, cause, reason = LASTING[fault]
    server, engine = shared(name)
    server.script = [reply]
    before = len(server.requests)
    with pytest.raises(EngineFailed, match=reason) as caught:
        engine.search_web([HERON])
    assert caught.value.cause == cause
    assert caught.value.status == reply.status
    assert caught.value.attempts == len(server.requests) - before == 1


def test_an_answer_that_is_late_is_not_asked_for_again(opened: Open) -> None:
    server, engine = opened("brave", late=5.0, timeout=0.2)
    error = failure(engine)
    assert (error.cause, error.attempts, len(server.requests)) == ("timeout", 1, 1)
    assert "no answer within 0.2 s" in str(error)


def test_a_huge_answer_is_cut_off(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_ANSWER_BYTES", 2**20)
    server, engine = opened("brave")
    server.script = [Reply(body=b" " * 2**21)]
    assert "longer than 1 MiB" in failure(engine).reason


def test_an_engine_that_is_not_there(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    server, engine = opened("searxng", max_attempts=2)
    server.close()
    monkeypatch.setattr(server, "close", lambda: None)
    error = failure(engine)
    assert (error.cause, error.attempts, error.status) == ("unreachable", 2, None)


def test_each_query_has_its_own_outcome(opened: Open) -> None:
    server, engine = opened("serper", PAGES, max_attempts=1)
    server.script = [Reply(503)]
    queries = [WebQuery("heron"), WebQuery(""), WebQuery("otter"), WebQuery("basilisk")]
    with pytest.raises(BatchError) as caught:
        engine.search_web(queries)
    kinds = sorted(type(each).__name__ for each in caught.value.results)
    assert kinds == ["EngineFailed", "InputError", "WebResults", "WebResults"]
    assert isinstance(caught.value.results[1], InputError)


def test_queries_are_asked_side_by_side(opened: Open) -> None:
    server, engine = opened("brave", PAGES, late=0.1)
    found = engine.search_web([WebQuery(each.title) for each in PAGES])
    assert [each.results[0].url for each in found] == [each.url for each in PAGES]
    assert 1 < server.most <= 16


def test_no_more_often_than_allowed(opened: Open) -> None:
    server, engine = opened("brave", PAGES, per_second=20.0, late=0.001)
    engine.search_web([HERON] * 4)
    assert server.most <= 2
    with pytest.raises(InputError, match="per_second"):
        opened("brave", per_second=0)


@pytest.mark.parametrize("name", APIS)
def test_offline(name: str, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_OFFLINE", "1")
    assert len(opened(name, PAGES)[1].search_web([HERON])[0].results) == 9
    with load_engine(f"{name}@https://engine.example") as engine:  # type: ignore[attr-defined]
        error = failure(engine)
    assert (error.cause, error.attempts) == ("offline", 1)


def test_nothing_is_contacted_but_the_engine(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody is there
    server, engine = opened("searxng", PAGES)
    engine.search_web([HERON])
    assert "authorization" not in server.requests[0].headers


def test_a_closed_engine_says_so(opened: Open) -> None:
    _, engine = opened("brave")
    engine.close()
    assert "closed" in str(failure(engine))


def test_closing_ends_what_is_in_flight(opened: Open) -> None:
    server, engine = opened("brave", late=5.0)
    thread = threading.Timer(
        0.0, lambda: eventually(lambda: bool(server.requests)) and engine.close()
    )
    thread.start()
    assert "closed" in str(failure(engine))
    thread.join()


def test_forgotten_engines_end_their_threads() -> None:
    before = {*threading.enumerate()}
    engine = load_engine("brave@http://127.0.0.1:9")
    started = {*threading.enumerate()} - before
    assert len(started) == 1
    del engine
    gc.collect()
    assert eventually(lambda: not any(thread.is_alive() for thread in started))


def test_the_key_is_not_in_what_is_shown(opened: Open) -> None:
    _, engine = opened("brave")
    assert KEY not in repr(engine) + repr(vars(engine))
