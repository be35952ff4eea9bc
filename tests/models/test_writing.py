import _thread
import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rag.core.generation import Prompt, Reply, Sampling
from rag.models.transformers_llm import TransformersLLM
from rag.testing.llm_conformance import written

PROMPTS = [Prompt(f"Is {n} more? " * n) for n in range(1, 9)]


@pytest.fixture(scope="module")
def llm(tiny: Path) -> TransformersLLM:
    return TransformersLLM(tiny, dtype="float32")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_callers_share_passes(llm: TransformersLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply asked for while another is written joins it, and is finished before it."""
    rows = []
    read = llm._model.read

    def recorded(batch: Any, *rest: Any) -> Any:
        rows.append(len(batch))
        return read(batch, *rest)

    monkeypatch.setattr(llm._model, "read", recorded)
    stream = llm.stream(PROMPTS[0], Sampling(max_tokens=400))
    next(stream)
    (short,) = llm.generate(PROMPTS[1:2], Sampling(max_tokens=3))
    assert 2 in rows
    assert short.output_tokens == 3
    *_, last = stream
    assert isinstance(last, Reply)
    assert last.output_tokens == 400
    monkeypatch.undo()
    assert written([short]) == written(llm.generate(PROMPTS[1:2], Sampling(max_tokens=3)))


def test_different_sampling_in_one_batch(llm: TransformersLLM) -> None:
    asked = [
        Sampling(max_tokens=9),
        Sampling(max_tokens=3),
        Sampling(max_tokens=12, temperature=1.0, seed=3),
        Sampling(max_tokens=12, choices=("Paris", "London")),
        Sampling(max_tokens=12, starts_with=("Yes", "No")),
        Sampling(max_tokens=5, temperature=1.3, top_p=0.8, seed=4, n=2),
        Sampling(max_tokens=12, json_schema={"type": "integer"}),
        Sampling(max_tokens=2, logprobs=3),
    ]

    def ask(row: int) -> Reply:
        return llm.generate([PROMPTS[row]], asked[row])[0]

    expected = [ask(row) for row in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, range(8)))
    assert [written(each.samples) for each in together] == [
        written(each.samples) for each in expected
    ]


def test_a_small_batch_budget_serves_everyone_in_turn(tiny: Path, llm: TransformersLLM) -> None:
    small = TransformersLLM(tiny, dtype="float32", batch_tokens=150)
    sampling = Sampling(max_tokens=30)
    assert written(small.generate(PROMPTS, sampling)) == written(llm.generate(PROMPTS, sampling))


def test_scores_come_while_replies_are_written(llm: TransformersLLM) -> None:
    stream = llm.stream(PROMPTS[0], Sampling(max_tokens=400))
    next(stream)
    assert len(llm.score(PROMPTS, ["A"] * 8)) == 8
    *_, last = stream
    assert isinstance(last, Reply)


def test_an_error_reaches_everyone_who_waits_and_the_model_goes_on(
    llm: TransformersLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = written(llm.generate(PROMPTS, Sampling(max_tokens=2)))

    def broken(*_: Any) -> Any:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(llm._model, "read", broken)
    for call in (
        lambda: llm.generate(PROMPTS[:1], Sampling(max_tokens=2)),
        lambda: list(llm.stream(PROMPTS[0], Sampling(max_tokens=2))),
        lambda: llm.score(PROMPTS[:1], ["A"]),
    ):
        with pytest.raises(RuntimeError, match="the device is gone"):
            call()
    monkeypatch.undo()
    monkeypatch.setattr(llm._writer, "_text_of", broken)
    with pytest.raises(RuntimeError, match="the device is gone"):
        llm.generate(PROMPTS[:1], Sampling(max_tokens=2, logprobs=1))
    monkeypatch.undo()
    assert written(llm.generate(PROMPTS, Sampling(max_tokens=2))) == expected


def test_an_interrupted_wait_ends_the_generation(llm: TransformersLLM) -> None:
    threading.Timer(0.1, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        llm.generate(PROMPTS * 4, Sampling(max_tokens=400))
    wait_for(lambda: not (llm._writer._live or llm._writer._waiting))
    assert llm.generate(PROMPTS[:1], Sampling(max_tokens=2))


def test_a_model_that_nobody_has_is_freed(tiny: Path) -> None:
    llm = TransformersLLM(tiny, dtype="float32")
    llm.generate(PROMPTS[:1], Sampling(max_tokens=2))
    model = weakref.ref(llm._model)
    del llm
    gc.collect()
    wait_for(lambda: model() is None)


def test_models_of_a_device_share_its_thread(tiny: Path) -> None:
    """Two teams of OpenMP threads on one CPU make each other slow."""
    threads = set()

    def here(*_: Any) -> None:
        threads.add(threading.current_thread().name)

    for _ in range(2):
        llm = TransformersLLM(tiny, dtype="float32", device="cpu")
        llm._model._model.register_forward_pre_hook(here)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda p: llm.generate([p], Sampling(max_tokens=2)), PROMPTS))  # noqa: B023
        llm.score(PROMPTS, ["A"] * len(PROMPTS))
    assert threads == {"rag-cpu_0"}


def test_python_ends_in_the_middle_of_a_stream(tiny: Path) -> None:
    script = (
        "import sys\n"
        "from rag.core import Prompt, Sampling\n"
        "from rag.models import TransformersLLM\n"
        "llm = TransformersLLM(sys.argv[1], dtype='float32')\n"
        "stream = llm.stream(Prompt('Why?'), Sampling(max_tokens=450))\n"
        "print(next(stream))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tiny)], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, bool(done.stdout.strip())) == (0, True), done.stderr
