from __future__ import annotations

from pathlib import Path
from random import Random
from threading import Thread

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rag.context.encoded import EncodedContext
from rag.context.tiers import ContextCache, Key, Tier
from rag.core.errors import ModelError
from tests.context.writers import PREFIX, store_in, written

SIZE = written(0).states.nbytes

steps = st.lists(st.tuples(st.sampled_from(["get", "put"]), st.integers(0, 6), st.integers(1, 5)))


def of_size(units: int) -> EncodedContext:
    return EncodedContext(torch.zeros(2, 1, 1, units, 1, dtype=torch.int8))


@given(st.integers(0, 12), steps)
def test_a_tier_holds_the_most_recently_used_within_its_room(
    room: int, done: list[tuple[str, int, int]]
) -> None:
    tier = Tier(2 * room)
    held: list[tuple[Key, EncodedContext]] = []  # least recently used first
    for action, number, units in done:
        key: Key = ((), (number,))
        known = [each for each in held if each[0] == key]
        if action == "get":
            assert tier.get(key) is (known[0][1] if known else None)
        else:
            known = [(key, of_size(units))]
            tier.put(*known[0])
        held = [each for each in held if each[0] != key] + [e for e in known if fits(e, room)]
        while sum(context.tokens for _, context in held) > room:
            held.pop(0)
        assert tier.size == sum(context.nbytes for _, context in held) <= tier.capacity


def fits(entry: tuple[Key, EncodedContext], room: int) -> bool:
    return entry[1].tokens <= room


def test_what_is_found_on_disk_is_lifted_into_memory(tmp_path: Path) -> None:
    tokens, states, source = written(1)
    store = store_in(tmp_path)
    ContextCache(store, ram_bytes=0, gpu_bytes=0, device="cpu").put(PREFIX, tokens, states, source)
    cache = ContextCache(store, ram_bytes=SIZE, gpu_bytes=0, device="cpu")
    assert cache.get((), tokens) is None
    for _ in range(2):
        found = cache.get(PREFIX, tokens)
        assert found is not None
        assert torch.equal(found.states, states)
    assert cache.stats._asdict() == {"device": 0, "ram": 1, "disk": 1, "misses": 1, "unwritten": 0}
    store.clear()
    assert cache.get(PREFIX, tokens) is not None


def test_what_is_found_in_ram_is_lifted_to_the_device() -> None:
    # No other device is at hand everywhere; on this one tensors have a shape and no numbers.
    cache = ContextCache(None, ram_bytes=3 * SIZE, gpu_bytes=SIZE, device="meta")
    one, two = written(1), written(2)
    assert cache.put(PREFIX, one.tokens, one.states).states.device.type == "meta"
    cache.put(PREFIX, two.tokens, two.states)
    for each in (two, one, one, two):
        found = cache.get(PREFIX, each.tokens)
        assert found is not None
        assert found.states.device.type == "meta"
    assert cache.stats._asdict() == {"device": 2, "ram": 2, "disk": 0, "misses": 0, "unwritten": 0}


def test_a_context_too_large_for_a_memory_is_used_from_the_next(tmp_path: Path) -> None:
    tokens, states, source = written(1)
    for ram_bytes, places in ((SIZE, (0, 2, 0, 0)), (SIZE - 1, (0, 0, 2, 0))):
        cache = ContextCache(
            store_in(tmp_path), ram_bytes=ram_bytes, gpu_bytes=SIZE - 1, device="meta"
        )
        cache.put(PREFIX, tokens, states, source)
        for _ in range(2):
            found = cache.get(PREFIX, tokens)
            assert found is not None
            assert torch.equal(found.states, states)
        assert cache.stats[:4] == places


def test_without_a_store_states_are_kept_in_memory_only() -> None:
    cache = ContextCache(None, ram_bytes=2 * SIZE, gpu_bytes=SIZE, device="cpu")
    for number in range(3):
        tokens, states, source = written(number)
        cache.put(PREFIX, tokens, states, source)
    assert cache.get(PREFIX, written(0).tokens) is None
    assert cache.get(PREFIX, written(2).tokens) is not None
    assert not cache.int8
    with pytest.raises(ModelError):
        cache.put(PREFIX, written(0).tokens, written(0).states * float("nan"))


def test_int8_is_held_as_int8(tmp_path: Path) -> None:
    tokens, states, source = written(1)
    cache = ContextCache(store_in(tmp_path, int8=True), ram_bytes=SIZE, gpu_bytes=0, device="cpu")
    assert cache.int8
    for found in (cache.put(PREFIX, tokens, states, source), cache.get(PREFIX, tokens)):
        assert found is not None
        assert found.states.dtype == torch.int8


def test_threads_share_a_cache(tmp_path: Path) -> None:
    cache = ContextCache(store_in(tmp_path), ram_bytes=3 * SIZE, gpu_bytes=2 * SIZE, device="meta")
    contexts = [written(number) for number in range(6)]
    asked = [0] * 4
    wrong: list[object] = []

    def use(seed: int) -> None:
        random = Random(seed)
        try:
            for _ in range(100):
                tokens, states, source = random.choice(contexts)
                asked[seed] += 1
                found = cache.get(PREFIX, tokens)
                if found is None:
                    found = cache.put(PREFIX, tokens, states, source)
                if found.states.device.type != "meta" or found.states.shape != states.shape:
                    wrong.append(found)
        except Exception as error:  # noqa: BLE001
            wrong.append(error)

    threads = [Thread(target=use, args=[seed]) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (wrong, sum(cache.stats)) == ([], sum(asked))
    for tier, room in ((cache._ram, 3), (cache._on_device, 2)):
        assert tier.size == sum(each.nbytes for each in tier._held.values()) <= room * SIZE


@pytest.mark.gpu
def test_states_are_held_on_the_gpu(tmp_path: Path) -> None:
    tokens, states, source = written(1, dtype=torch.bfloat16)
    for store in (None, store_in(tmp_path)):
        cache = ContextCache(store, ram_bytes=SIZE, gpu_bytes=SIZE, device="cuda")
        cache.put(PREFIX, tokens, states.cuda(), source)
        found = cache.get(PREFIX, tokens)
        assert found is not None
        assert found.states.is_cuda
        assert torch.equal(found.states.cpu(), states)
        assert cache.stats[:4] == (1, 0, 0, 0)
