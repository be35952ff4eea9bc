import json
import math
import random
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.budgets import Budget
from rag.core.capabilities import Capability
from rag.core.engine import Engine
from rag.core.errors import (
    BatchError,
    CallFailed,
    ContextOverflow,
    InputError,
    StorageError,
    Unsupported,
)
from rag.core.generation import NextTokenScores, Prompt, Reply, Sampling, TokenLogprob
from rag.core.operations import Generate
from rag.core.protocols import LLM
from rag.core.usage import Prices
from rag.models.cached_llm import CachedLLM, _next_token, _reply
from rag.models.transformers_llm import TransformersLLM
from rag.testing.llm_conformance import LLMConformance
from rag.testing.llms import EchoLLM

GREEDY = Sampling(max_tokens=8)
PROMPTS = [Prompt("a b"), Prompt("c d e"), Prompt("f")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "replies.sqlite"


class TestEcho(LLMConformance):
    @pytest.fixture(autouse=True)
    def _around(self, path: Path) -> None:
        self.cached = CachedLLM(EchoLLM(), path)

    def make_llm(self) -> LLM:
        return self.cached


# Both halves run by themselves too: the model in its own tests, the cache around an echo above.
@pytest.mark.slow
class TestSmolLM2(LLMConformance):
    @pytest.fixture(autouse=True)
    def _around(self, smollm2: TransformersLLM, path: Path) -> None:
        self.cached = CachedLLM(smollm2, path)

    def make_llm(self) -> LLM:
        return self.cached


def asked_of(llm: EchoLLM) -> list[list[str]]:
    return [[prompt.question for prompt in prompts] for _, prompts in llm.calls]


def test_a_second_run_asks_nothing(path: Path) -> None:
    first = CachedLLM(EchoLLM(), path).generate(PROMPTS, GREEDY)
    inner = EchoLLM()
    again = CachedLLM(inner, path).generate(PROMPTS, GREEDY)
    assert inner.calls == []
    assert again == [
        replace(each, cached_tokens=each.input_tokens, from_cache=True) for each in first
    ]
    assert [each.usage.cache_hits for each in first] == [0, 0, 0]
    assert [each.usage.cache_hits for each in again] == [1, 1, 1]


def test_a_batch_asks_once_for_what_is_missing(path: Path) -> None:
    inner = EchoLLM()
    llm = CachedLLM(inner, path)
    llm.generate([Prompt("kept")], GREEDY)
    replies = llm.generate([Prompt(each) for each in ("x", "kept", "y", "x", "y")], GREEDY)
    assert asked_of(inner) == [["kept"], ["x", "y"]]
    assert [each.text for each in replies] == ["x", "kept", "y", "x", "y"]
    assert [each.from_cache for each in replies] == [False, True, False, True, True]


def test_scores_are_kept_with_all_their_digits(path: Path) -> None:
    inner = EchoLLM()
    llm = CachedLLM(inner, path)
    for call in (
        lambda: llm.score(PROMPTS, ["a", "b c", "d"]),
        lambda: llm.next_token(PROMPTS, ["a", "b"]),
        lambda: llm.generate(PROMPTS, Sampling(logprobs=1)),
    ):
        first, again = call(), call()
        hits = [replace(each, cached_tokens=each.input_tokens, from_cache=True) for each in first]
        assert again == hits
    assert len(inner.calls) == 3


@pytest.mark.parametrize(
    "other",
    [
        Sampling(max_tokens=9),
        Sampling(max_tokens=8, stop=("x",)),
        Sampling(max_tokens=8, temperature=1, seed=1),
        Sampling(max_tokens=8, temperature=1, seed=1, n=2),
        Sampling(max_tokens=8, starts_with=("So",)),
    ],
)
def test_each_field_of_the_sampling_matters(path: Path, other: Sampling) -> None:
    inner = EchoLLM()
    llm = CachedLLM(inner, path)
    llm.generate(PROMPTS, GREEDY)
    llm.generate(PROMPTS, other)
    assert len(inner.calls) == 2


def test_name_revision_and_each_part_of_the_prompt_matter(path: Path) -> None:
    base = Prompt("a", "b", ("c", "d"), "e")
    prompts = [
        base,
        Prompt("a b", "", ("c", "d"), "e"),
        Prompt("a", "b", ("c d",), "e"),
        Prompt("a", "b", ("c", "d", "e")),
    ]
    revised = EchoLLM()
    revised.revision = "2"
    for inner in (EchoLLM(), EchoLLM(name="other"), revised):
        llm = CachedLLM(inner, path)
        assert not any(each.from_cache for each in llm.generate(prompts, GREEDY))
        assert all(each.from_cache for each in llm.generate(prompts, GREEDY))


def test_what_is_not_deterministic_passes_through(path: Path) -> None:
    inner = EchoLLM()
    llm = CachedLLM(inner, path)
    for _ in range(2):
        assert not llm.generate([Prompt("a")], Sampling(temperature=1))[0].from_cache
        assert list(llm.stream(Prompt("a"), Sampling(temperature=1)))
    assert len(inner.calls) == 4


def test_a_stream_is_kept_when_it_is_whole_and_serves_generate(path: Path) -> None:
    inner = EchoLLM()
    llm = CachedLLM(inner, path)
    left = llm.stream(Prompt("a b c"), GREEDY)
    assert next(left) == "a"
    del left
    assert [*map(str, llm.stream(Prompt("a b c"), GREEDY))][:3] == ["a", " b", " c"]
    assert len(inner.calls) == 2
    (reply,) = llm.generate([Prompt("a b c")], GREEDY)
    assert list(llm.stream(Prompt("a b c"), GREEDY)) == ["a b c", reply]
    assert reply.from_cache
    assert len(inner.calls) == 2


class Failing(EchoLLM):
    """Fails on some questions, once each."""

    def __init__(self, *questions: str) -> None:
        super().__init__()
        self.left = set(questions)

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[Reply]:  # type: ignore[override]
        replies: list[Reply | Exception] = [*super().generate(prompts, sampling)]
        for row, prompt in enumerate(prompts):
            if prompt.question in self.left:
                self.left.remove(prompt.question)
                replies[row] = CallFailed(self.name, "dropped")
        failures = [each for each in replies if isinstance(each, Exception)]
        if failures:
            raise failures[0] if len(replies) == 1 else BatchError(replies)
        return replies  # type: ignore[return-value]


@pytest.mark.parametrize("failing", [["x"], ["x", "y"]])
def test_what_succeeded_of_a_batch_is_kept_and_errors_are_not(
    path: Path, failing: list[str]
) -> None:
    inner = Failing(*failing)
    llm = CachedLLM(inner, path)
    llm.generate([Prompt("kept")], GREEDY)
    batch = [Prompt(each) for each in ("x", "kept", "y", "x")]
    with pytest.raises(BatchError) as caught:
        llm.generate(batch, GREEDY)
    first, kept, other, twin = caught.value.results
    assert isinstance(first, CallFailed)
    assert first is twin
    assert (kept.text, kept.from_cache) == ("kept", True)
    assert isinstance(other, CallFailed if "y" in failing else Reply)
    assert [each.text for each in llm.generate(batch, GREEDY)] == ["x", "kept", "y", "x"]
    assert asked_of(inner)[2:] == [failing]


def test_the_only_missing_item_of_several_fails_in_its_place(path: Path) -> None:
    llm = CachedLLM(EchoLLM(context_window=20), path)
    too_long = Prompt("word " * 20)
    with pytest.raises(ContextOverflow):
        llm.generate([too_long], GREEDY)
    llm.generate([Prompt("a")], GREEDY)
    for batch in ([too_long, Prompt("a")], [too_long, too_long]):
        with pytest.raises(BatchError) as caught:
            llm.generate(batch, GREEDY)
        assert isinstance(caught.value.results[0], ContextOverflow)


def test_errors_about_the_whole_call_stay_as_they_are(path: Path) -> None:
    llm = CachedLLM(EchoLLM(), path)
    with pytest.raises(InputError):
        llm.next_token([Prompt("a"), Prompt("b")], ["two words"])
    with pytest.raises(InputError):
        llm.score([Prompt("a")], [])


def test_kept_replies_do_not_stand_in_for_capabilities(path: Path) -> None:
    CachedLLM(EchoLLM(), path).score(PROMPTS[:1], ["a"])
    lacking: set[Capability] = {"generate"}
    with pytest.raises(Unsupported):
        CachedLLM(EchoLLM(capabilities=lacking), path).score(PROMPTS[:1], ["a"])


def test_a_hit_costs_no_money_and_the_same_tokens(path: Path) -> None:
    prices = Prices(input=1e6, output=1e6)
    usages = []
    for _ in range(2):
        engine = Engine(llm=CachedLLM(EchoLLM(prices=prices), path))
        engine.run(Generate(Prompt("a b"), GREEDY), budget=Budget(tokens=2))
        usages.append(engine.usage)
    first, again = usages
    assert (first.cost, first.cached_tokens, first.cache_hits) == (4.0, 0, 0)
    assert (again.cost, again.cached_tokens, again.cache_hits) == (0.0, 2, 1)
    assert first.effective_context_length == again.effective_context_length == 2
    assert first.output_tokens == again.output_tokens == 2


def test_clear_forgets(path: Path) -> None:
    inner = EchoLLM()
    llm = CachedLLM(inner, path)
    for _ in range(2):
        llm.generate([Prompt("word " * 5000)], GREEDY)
        llm.clear()
        assert path.stat().st_size < 20_000
    assert len(inner.calls) == 2


texts = st.text(st.characters(), max_size=8)
floats = st.floats(allow_nan=False)
entries = st.builds(TokenLogprob, texts, floats, st.dictionaries(texts, floats, max_size=3))
counts = st.integers(0, 10**6)
replies = st.builds(
    Reply, texts, st.sampled_from(["stop", "length"]), st.lists(entries, max_size=3).map(tuple),
    input_tokens=counts, output_tokens=counts, estimated_tokens=counts, retries=counts,
)  # fmt: skip


class Given(EchoLLM):
    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[Reply]:  # type: ignore[override]
        return [self.reply]


@given(replies, st.lists(replies, max_size=2))
def test_any_reply_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, reply: Reply, others: list[Reply]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.sqlite"
    llm = CachedLLM(Given(replace(reply, others=tuple(others))), path)
    llm.clear()
    llm.generate([Prompt("a")], GREEDY)
    (kept,) = llm.generate([Prompt("a")], GREEDY)

    def hit(each: Reply) -> Reply:
        return replace(each, cached_tokens=each.input_tokens, retries=0, from_cache=True)

    assert kept == replace(hit(reply), others=tuple(map(hit, others)))


def test_infinite_logprobs_survive() -> None:
    scores = {"a": -math.inf}
    fields = json.loads(json.dumps({"logprobs": scores, "missing": ["b"], "input_tokens": 1}))
    assert _next_token(fields) == NextTokenScores(
        input_tokens=1, cached_tokens=1, from_cache=True, logprobs=scores, missing=("b",)
    )
    with pytest.raises(KeyError):
        _reply({})


def test_a_stored_hash_does_not_serve_another_question(path: Path) -> None:
    llm = CachedLLM(EchoLLM(), path)
    llm.generate([Prompt("a")], GREEDY)
    with sqlite3.connect(path) as connection:  # as if the hashes of two questions were one
        connection.execute("UPDATE results SET asked = 'another question'")
    connection.close()
    assert not llm.generate([Prompt("a")], GREEDY)[0].from_cache
    assert llm.generate([Prompt("a")], GREEDY)[0].from_cache


def test_other_files_are_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"a letter to my aunt, rather longer than the header of a database" * 20)
    before = path.read_bytes()
    with pytest.raises(StorageError, match=r"replies\.sqlite: .*not a database; name another file"):
        CachedLLM(EchoLLM(), path)
    assert path.read_bytes() == before
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (name)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="SQLite file of something else"):
        CachedLLM(EchoLLM(), path)
    assert path.read_bytes() == before


def test_a_place_that_cannot_hold_a_file_is_named(path: Path) -> None:
    path.parent.touch()
    with pytest.raises(StorageError, match="its folder cannot be made"):
        CachedLLM(EchoLLM(), path)
    with pytest.raises(StorageError, match="unable to open"):
        CachedLLM(EchoLLM(), path.parent.parent)


@pytest.mark.parametrize("damage", ["cut", "result"])
def test_a_damaged_file_is_named(path: Path, damage: str) -> None:
    llm = CachedLLM(EchoLLM(), path)
    prompts = [Prompt("word " * 100 + str(number)) for number in range(200)]
    llm.generate(prompts, GREEDY)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:10_000])
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE results SET result = '{}'")
        connection.close()
    with pytest.raises(StorageError, match=r"replies\.sqlite: .*delete it"):
        llm.generate(prompts, GREEDY)


WRITER = """
import sys
from rag.core.generation import Prompt, Sampling
from rag.models.cached_llm import CachedLLM
from rag.testing.llms import EchoLLM

llm = CachedLLM(EchoLLM(), sys.argv[1])
for number in range(int(sys.argv[2])):
    llm.generate([Prompt(f"word {number} {part} " * 50) for part in range(3)], Sampling())
    print(number, flush=True)
"""


def writer(path: Path, batches: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), str(batches)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def kept_batches(path: Path, batches: int) -> int:
    llm = CachedLLM(EchoLLM(capabilities={"generate"}), path)
    prompts = [Prompt(f"word {n} {part} " * 50) for n in range(batches) for part in range(3)]
    return sum(reply.from_cache for reply in llm.generate(prompts, Sampling())) // 3


def test_a_kill_loses_nothing_that_was_returned(path: Path) -> None:
    chance = random.Random(0)
    for _ in range(5):
        process = writer(path, 10**6)
        assert process.stdout
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        said = 1 + len(process.stdout.read().splitlines())
        process.wait()
        process.stdout.close()
        assert kept_batches(path, said) == said
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()


def test_processes_and_threads_share_a_file(path: Path) -> None:
    processes = [writer(path, 20) for _ in range(3)]
    llm = CachedLLM(EchoLLM(), path)
    with ThreadPoolExecutor(4) as pool:
        mine = list(pool.map(lambda n: llm.generate([Prompt(str(n % 10))], GREEDY), range(40)))
    assert [reply.text for (reply,) in mine] == [str(n % 10) for n in range(40)]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert kept_batches(path, 20) == 20
