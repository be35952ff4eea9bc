import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner

from rag.cli import main
from rag.service.serving import held


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    """A folder with one document."""
    folder = tmp_path / "handbook"
    folder.mkdir()
    (folder / "leave.md").write_text("# Leave\n\nEmployees have thirty days of leave a year.\n")
    return folder


def test_a_folder_is_served_and_streams_are_finished(handbook: Path, tmp_path: Path) -> None:
    environment = os.environ | {"XDG_DATA_HOME": str(tmp_path), "RAG_SERVICE_LOGS__FORMAT": "json"}
    command = [Path(sys.executable).with_name("rag"), "serve", handbook, "--no-llm", "--port", "0"]
    log = tmp_path / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        try:
            assert process.stdout
            url = re.fullmatch(r"Serving at (http://127\.0\.0\.1:\d+)\n", process.stdout.readline())
            assert url
            with httpx2.Client(base_url=url[1], timeout=30) as client:
                _check_served(client)
                _check_stopping(client, process)
            said = process.stdout.read()
            process.wait(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert f"follows {handbook}" in said
    assert f"data        {tmp_path}/ragmeter/handbook-" in said
    logged = log.read_text()
    events = re.findall(r'"event": "(\w+)"', logged)
    assert events[0] == "started"
    assert events[-1] == "stopped"
    assert "Traceback" not in logged


def _check_served(client: httpx2.Client) -> None:
    assert client.get("/health").status_code == client.get("/ready").status_code == 200
    assert client.get("/").headers["content-type"].startswith("text/html")
    while any(job["state"] in ("queued", "running") for job in client.get("/v1/jobs").json()):
        time.sleep(0.05)
    answer = client.post(
        "/v1/answer", json={"question": "How many days of leave?", "collection": "handbook"}
    ).json()
    assert "thirty days" in answer["text"]
    assert answer["citations"][0]["document_id"] == "handbook/leave.md"


def _check_stopping(client: httpx2.Client, process: subprocess.Popen[str]) -> None:
    """Tell the service to stop while it streams an answer; the stream is finished."""
    question = {"question": "How many days?", "collection": "handbook", "stream": True}
    with client.stream("POST", "/v1/answer", json=question) as reply:
        process.send_signal(signal.SIGTERM)
        assert "event: answer" in "".join(reply.iter_text())


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--host", "0.0.0.0"], 3, "rag keys create NAME --scope admin --data"),
        (["--config", "nowhere.toml"], 3, "nowhere.toml"),
        (["--port", "70000"], 3, "server.port"),
        (["--embedder", "no-such-model"], 4, "no-such-model"),
        (["--llm", "a", "--no-llm"], 2, "contradict"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(
    handbook: Path, tmp_path: Path, options: list[str], code: int, says: str
) -> None:
    data = ["--data", str(tmp_path / "data"), "--port", "0"]
    result = CliRunner().invoke(main, ["serve", str(handbook), *data, *options])
    assert result.exit_code == code
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_that_another_service_holds_is_refused(tmp_path: Path) -> None:
    with held(tmp_path):
        result = CliRunner().invoke(main, ["serve", "--port", "0", "--data", str(tmp_path)])
    assert result.exit_code == 5
    assert f"process {os.getpid()}" in result.stderr
