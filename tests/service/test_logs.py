import io
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag.core.errors import StorageError
from rag.service.logs import configure_logs, log
from rag.service.settings import Logs
from rag.testing import ScriptedLLM
from tests.service.birds import REPLY, add_birds
from tests.service.doubles import eventually
from tests.service.running import RunningService

QUESTION = "Does the heron whisper xylophone-question?"
TEXT = "The password of the archive is xylophone-document."


@pytest.fixture
def written(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """What is logged, as JSON unless the test says otherwise."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    configure_logs(Logs(**{"format": "json"} | getattr(request, "param", {})), stream)
    yield stream
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("rag.service").setLevel(logging.NOTSET)


def lines(stream: io.StringIO, count: int) -> list[dict[str, Any]]:
    """Return the lines once there are so many: a request's comes after its reply."""
    assert eventually(lambda: stream.getvalue().count("\n") >= count)
    found = stream.getvalue().splitlines()
    assert len(found) == count
    return [json.loads(line) for line in found]


def test_a_request_is_one_line_without_its_path(
    written: io.StringIO, running: RunningService
) -> None:
    running.service.library.create("handbook")
    reply = running.client.get("/v1/collections/handbook?secret=1")
    (line,) = lines(written, 1)
    assert line["event"] == "request"
    assert line["method"] == "GET"
    assert line["route"] == "/v1/collections/{collection}"
    assert line["status"] == 200
    assert line["bytes"] == len(reply.content)
    assert line["request_id"] == reply.headers["x-request-id"]
    assert line["ms"] > 0
    assert line["level"] == "info"


@pytest.mark.parametrize("written", [{"format": "json"}, {"format": "text"}], indirect=True)
def test_nothing_that_was_sent_is_in_the_log(written: io.StringIO, tmp_path: Path) -> None:
    with RunningService(tmp_path, llm=ScriptedLLM(lambda _: f"{REPLY} xylophone-reply")) as running:
        add_birds(running)
        _, key = running.service.keys.create("ops", ["admin"])
        client = running.client
        assert client.get("/v1/collections").status_code == 401
        assert client.get("/v1/collections", headers={"Authorization": "Bearer rag_wrong"})
        client.headers["Authorization"] = f"Bearer {key}"
        files = [("files", ("xylophone-name.md", TEXT.encode(), "text/markdown"))]
        job = client.post("/v1/collections/birds/documents", files=files).json()
        while client.get(f"/v1/jobs/{job['id']}").json()["state"] in ("queued", "running"):
            time.sleep(0.01)
        asked = {"question": QUESTION, "collection": "birds"}
        assert client.post("/v1/answer", json=asked).status_code == 200
        assert "answer" in client.post("/v1/answer", json=asked | {"stream": True}).text
        found = client.post("/v1/collections/birds/search", json={"query": QUESTION}).json()
        assert found["hits"]
        assert client.post("/v1/answer", json=asked | {"xylophone-field": 1}).status_code == 422
        assert client.get("/xylophone-path").status_code == 404
        key_id = next(iter(running.service.keys.list())).id
    log_of_the_run = written.getvalue()
    assert "xylophone" not in log_of_the_run
    assert "heron" not in log_of_the_run
    assert key not in log_of_the_run
    assert key_id in log_of_the_run
    assert "a job ended" in log_of_the_run


def test_an_unexpected_error_is_logged_and_not_told(
    written: io.StringIO, running: RunningService
) -> None:
    running.app.router.add_api_route("/fails", fail_with(TEXT))
    reply = running.client.get("/fails", headers={"X-Request-ID": "failing"})
    assert reply.status_code == 500
    assert reply.json()["error"]["code"] == "internal"
    assert "ValueError" not in reply.text
    assert TEXT not in reply.text
    failed, request = lines(written, 2)
    assert failed["request_id"] == request["request_id"] == "failing"
    assert failed["exception"].endswith("builtins.ValueError")
    assert "in failing" in failed["exception"]
    assert TEXT not in written.getvalue()
    assert request["status"] == 500


def fail_with(text: str):
    async def failing() -> None:
        raise ValueError(text)

    return failing


@pytest.mark.parametrize(
    ("error", "written", "tells"),
    [
        (ValueError(TEXT), {}, False),
        (ValueError(TEXT), {"level": "debug"}, True),
        (StorageError("/data", "disk full"), {}, True),
        (OSError("disk full"), {}, True),
    ],
    indirect=["written"],
)
def test_messages_of_errors_are_kept_out_unless_they_tell_of_the_machine(
    error: Exception, written: io.StringIO, tells: bool
) -> None:
    try:
        raise RuntimeError(TEXT) from error
    except RuntimeError as wrapped:
        log.error("failed", exc_info=wrapped)
    (line,) = lines(written, 1)
    assert (str(error) in line["exception"]) == tells
    assert type(error).__name__ in line["exception"]


def test_warnings_of_libraries_go_the_same_way_first_line_only(written: io.StringIO) -> None:
    logging.getLogger("some.library").warning("it is odd\n%s", TEXT)
    logging.getLogger("some.library").info(TEXT)
    (line,) = lines(written, 1)
    assert (line["event"], line["level"]) == ("it is odd", "warning")


@pytest.mark.parametrize("written", [{"level": "warning"}], indirect=True)
def test_the_level_is_kept(written: io.StringIO, running: RunningService) -> None:
    running.client.get("/v1/collections")
    assert written.getvalue() == ""
