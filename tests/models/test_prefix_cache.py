import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.models.prefix_cache import BLOCK, PrefixCache

# Few different blocks, so that sequences often begin alike.
sequences = st.lists(st.integers(0, 2), max_size=5).map(
    lambda blocks: [token for block in blocks for token in [block] * BLOCK]
)


def states_of(tokens: list[int], first: int, last: int) -> torch.Tensor:
    """States that tell for each token all that came before it, as a model's do."""
    sums = torch.tensor(tokens).double().add(1).cumsum(0)[first:last]
    return sums.expand(2, 1, 1, -1)[..., None].clone()


def keep(cache: PrefixCache, tokens: list[int]) -> None:
    cache.add(tokens, lambda first, last: states_of(tokens, first, last))


BLOCK_BYTES = states_of([0] * BLOCK, 0, BLOCK).nbytes


@given(st.lists(sequences, max_size=8), st.integers(0, 6), sequences)
def test_what_is_found_is_what_the_tokens_had(
    kept: list[list[int]], blocks: int, asked: list[int]
) -> None:
    cache = PrefixCache(blocks * BLOCK_BYTES)
    for tokens in kept:
        keep(cache, tokens)
        assert cache.size <= cache.capacity
    found = cache.longest(asked, len(asked))
    length = len(found) * BLOCK
    for number, block in enumerate(found):
        first = number * BLOCK
        assert torch.equal(block.states, states_of(asked, first, first + BLOCK))
    assert not found or any(tokens[:length] == asked[:length] for tokens in kept)


@given(st.lists(sequences, max_size=8), sequences)
def test_with_room_the_longest_common_beginning_is_found(
    kept: list[list[int]], asked: list[int]
) -> None:
    cache = PrefixCache(1 << 30)
    for tokens in kept:
        keep(cache, tokens)
    common = 0
    for tokens in kept:
        same = 0
        while tokens[: same + BLOCK] == asked[: same + BLOCK] and same + BLOCK <= len(asked):
            if same + BLOCK > len(tokens):
                break
            same += BLOCK
        common = max(common, same)
    assert len(cache.longest(asked, len(asked))) * BLOCK == common


@settings(max_examples=50)
@given(st.lists(sequences, min_size=1, max_size=12), st.integers(1, 4))
def test_every_kept_block_can_be_found(kept: list[list[int]], blocks: int) -> None:
    """What leaves are ends of sequences, never a beginning whose continuation stays."""
    cache = PrefixCache(blocks * BLOCK_BYTES)
    for tokens in kept:
        keep(cache, tokens)
    numbers = {block.number for block in cache._blocks.values()} | {0}
    assert all(parent in numbers for parent, _ in cache._blocks)


def test_only_whole_blocks_within_the_limit() -> None:
    cache = PrefixCache(1 << 30)
    tokens = list(range(BLOCK * 2 + 5))
    keep(cache, tokens)
    assert len(cache.longest(tokens, len(tokens) - 1)) == 2
    assert len(cache.longest(tokens, 2 * BLOCK - 1)) == 1
    assert cache.longest([*tokens[:-1], 0], 0) == []


def test_no_capacity_keeps_nothing() -> None:
    cache = PrefixCache(0)
    keep(cache, [1] * BLOCK)
    assert (cache.size, cache.longest([1] * BLOCK, BLOCK)) == (0, [])
