import pytest

from rag.core.errors import CallFailed, InputError
from rag.core.generation import Prompt, Sampling
from rag.models.http import OpenAICompatibleLLM
from rag.models.http.endpoint import endpoint, is_loopback
from tests.models.http.faulty_server import FaultyServer, plain

KEY = "sk-very-secret"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://user:secret@127.0.0.1/v1", "user or password"),
        ("https://secret@host/v1", "user or password"),
        ("ftp://host/v1", "is no base URL"),
        ("127.0.0.1:8000/v1", "is no base URL"),
        ("http:///v1", "is no base URL"),
        ("https://host/v1?key=1", "is no base URL"),
        ("https://host/v1#x", "is no base URL"),
        ("http://host.example/v1", "would travel unencrypted to host.example: use https"),
        ("http://127.0.0.1.example/v1", "unencrypted"),
    ],
)
def test_addresses_that_are_refused(url: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    with pytest.raises(InputError, match=reason) as caught:
        endpoint(url, "A_KEY")
    assert "secret" not in str(caught.value)


def test_a_key_that_cannot_be_sent_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in (f"{KEY}\nHost: evil", f"{KEY}é"):
        monkeypatch.setenv("A_KEY", key)
        with pytest.raises(InputError, match="the key in A_KEY") as caught:
            endpoint("https://host/v1", "A_KEY")
        assert KEY not in str(caught.value)


def test_loopback() -> None:
    for host in ("localhost", "127.0.0.1", "127.9.9.9", "[::1]"):
        assert is_loopback(f"http://{host}:8000/v1")
    for host in ("localhost.example", "10.0.0.1", "0.0.0.0", "host", "[::2]"):
        assert not is_loopback(f"http://{host}:8000/v1")


def test_no_key_no_encryption_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    where = endpoint("http://host.example:8000/openai/v1/", "A_KEY")
    assert where.base == "http://host.example:8000/openai/v1"
    assert where.root == "http://host.example:8000/openai"


def test_the_key_is_sent_and_never_shown(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody is there
    with OpenAICompatibleLLM(server.url, context_window=999, api_key_env="A_KEY") as llm:
        llm.generate([Prompt("a")], Sampling(max_tokens=8))
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
        assert KEY not in repr(llm) + repr(vars(llm)) + repr(llm._transport.endpoint)
        for status in (400, 401, 404, 307):
            said = {"error": {"message": f"wrong key: Bearer {KEY}"}}
            server.script = [plain(status, said, location=f"/?key={KEY}")]
            with pytest.raises(CallFailed) as caught:
                llm.generate([Prompt("a")], Sampling(max_tokens=8))
            assert KEY not in str(caught.value)
            assert "[A_KEY]" in str(caught.value)


def test_without_a_key_none_is_sent(server: FaultyServer) -> None:
    with OpenAICompatibleLLM(server.url, context_window=999) as llm:
        llm.generate([Prompt("a")], Sampling(max_tokens=8))
    assert "authorization" not in server.requests[0].headers
