import runpy
import socket
from pathlib import Path

import httpx2
import pytest

from rag.core.errors import CollectionLocked, InputError, StorageError
from rag.service.database import Database
from rag.service.keys import Keys
from rag.service.serving import bound, check_keys, data_for, held
from rag.service.settings import Server, Settings, load_settings
from tests.service.birds import QUESTION, add_birds
from tests.service.doubles import GatedLLM, eventually
from tests.service.running import RunningService


def test_each_set_of_sources_has_a_folder_that_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("RAG_SERVICE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    one, other = Path("a/docs"), Path("b/docs")
    folders = [data_for(sources) for sources in ((), (one,), (other,), (one, other))]
    assert len(set(folders)) == 4
    assert all(folder.is_relative_to(tmp_path / "ragmeter") for folder in folders)
    assert data_for([tmp_path / "a/docs"]) == data_for([Path("a/../a/docs")]) == folders[1]
    assert data_for([other, one]).name.endswith(folders[3].name.rpartition("-")[2])
    assert folders[1].name.startswith("docs-")


def test_a_folder_is_held_by_one_service(tmp_path: Path) -> None:
    with held(tmp_path / "data"):
        second = held(tmp_path / "data")
        with pytest.raises(CollectionLocked, match="process"):
            second.__enter__()
    with held(tmp_path / "data"):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file/data"), held(tmp_path / "file" / "data"):
        pass


def test_a_port_that_is_taken_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port}: .*--port"):
            bound(Server(port=port))


@pytest.mark.parametrize("host", ["no.such.host.invalid", "256.1.1.1", "::g"])
def test_an_address_that_there_is_not_is_refused(host: str) -> None:
    with pytest.raises(InputError, match=host):
        bound(Server(host=host, port=0))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost", "LocalHost"])
def test_loopback_needs_no_key(tmp_path: Path, host: str) -> None:
    server = Server(host=host)
    assert server.local
    check_keys(Settings(data=tmp_path, server=server))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "localhost.example.com", ""])
def test_other_addresses_need_one(tmp_path: Path, host: str) -> None:
    settings = Settings(data=tmp_path, server=Server(host=host))
    with pytest.raises(InputError, match=f"rag keys create NAME .*{tmp_path}"):
        check_keys(settings)
    Keys(Database(tmp_path / "service.sqlite")).create("first", ["admin"])
    check_keys(settings)


def test_losing_the_last_key_does_not_open_the_service_to_others(tmp_path: Path) -> None:
    with RunningService(tmp_path, server={"host": "0.0.0.0"}) as running:
        assert running.client.get("/v1/collections").status_code == 401


def test_a_stream_is_finished_while_the_service_stops(tmp_path: Path) -> None:
    llm = GatedLLM()
    with RunningService(tmp_path, llm=llm) as running:
        add_birds(running)
        asked = {"question": QUESTION, "collection": "birds", "stream": True}
        with running.client.stream("POST", "/v1/answer", json=asked) as reply:
            lines = reply.iter_lines()
            assert next(lines) == "event: start"
            running.stop()
            assert eventually(lambda: not _listens(running.url))
            llm.gate.set()
            assert "event: answer" in list(lines)


def _listens(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health").is_success
    except httpx2.TransportError:
        return False


def test_an_origin_is_one_and_not_all_of_them(tmp_path: Path) -> None:
    for origin in ("*", "https://*.example.com", "example.com", "https://example.com/"):
        with pytest.raises(InputError, match=r"server\.origins"):
            load_settings(None, data=tmp_path, server={"origins": [origin]})


def test_the_example_of_the_documentation_is_read() -> None:
    settings = load_settings(Path("docs/deploy/ragmeter.toml"))
    assert settings.server.hosts == ("rag.example.com",)
    assert settings.logs.format == "json"


def test_the_documentation_has_every_setting() -> None:
    generate = runpy.run_path("docs/generate_settings.py")["settings"]
    assert generate() == Path("docs/settings.md").read_text(encoding="utf-8"), "run `make docs`"
