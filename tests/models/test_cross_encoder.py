import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder as Reference
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from rag.core.errors import BatchError, InputError, MissingExtra, ModelError, ModelNotFound
from rag.models.cross_encoder import CrossEncoder, PairScore
from rag.models.quiet import quiet
from tests.models.conftest import MakeModel, byte_tokenizer
from tests.models.cross_encoders import MINILM, write_cross_encoder

QUERIES = ("how long do herons wait", "what does a linker do", "", "Jürgen's naïve café — 北京 🦉")
PASSAGES = (
    "The grey heron stands in shallow water and waits for fish.",
    "A linker puts compiled pieces of a program together and resolves their symbols.",
    "",
)
LONG = "It waits. " * 200
"""More than the 512 tokens that the model reads."""

PAIRS = [
    *((query, passage) for query in QUERIES for passage in PASSAGES),
    (QUERIES[0], "fish " * 200),
    (QUERIES[0], LONG),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cross_encoder(tmp_path_factory.mktemp("cross-encoder"))


@pytest.fixture(scope="module")
def exact(folder: Path) -> CrossEncoder:
    return CrossEncoder(folder, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def reference(folder: Path) -> Reference:
    with quiet():
        return Reference(str(folder), device="cpu")


def scores(found: list[PairScore]) -> list[float]:
    return [each.score for each in found]


def test_logits_equal_those_of_sentence_transformers(
    exact: CrossEncoder, reference: Reference
) -> None:
    found = np.array(scores(exact.score_pairs(PAIRS)))
    logits = reference.predict(PAIRS, activation_fn=torch.nn.Identity(), batch_size=2)
    np.testing.assert_allclose(found, logits, atol=1e-5)
    np.testing.assert_allclose(
        1 / (1 + np.exp(-found[:3])), reference.predict(PAIRS[:3]), atol=1e-5
    )
    assert np.ptp(found) > 0.5


def test_bfloat16_is_close_and_tells_pairs_apart(exact: CrossEncoder, folder: Path) -> None:
    fast = CrossEncoder(folder, dtype="bfloat16", device="cpu")
    pairs = [(QUERIES[0], f"A heron waits {n} minutes for {n * n} fish.") for n in range(150)]
    found, expected = scores(fast.score_pairs(pairs)), scores(exact.score_pairs(pairs))
    assert 0 < np.abs(np.array(found) - expected).max() < 0.1
    assert len({*found}) == 150, "of scores in bfloat16 itself a seventh would be the same"


def test_pairs_are_scored_alike_in_any_batch(exact: CrossEncoder, folder: Path) -> None:
    one_by_one = [each for pair in PAIRS for each in exact.score_pairs([pair])]
    small = CrossEncoder(folder, dtype="float32", device="cpu", batch_tokens=1)
    for found in (exact.score_pairs(PAIRS), small.score_pairs(PAIRS)):
        np.testing.assert_allclose(scores(found), scores(one_by_one), atol=1e-5)
    assert exact.score_pairs([]) == []


def test_tokens_are_those_that_are_read(exact: CrossEncoder) -> None:
    found = exact.score_pairs(PAIRS)
    assert [each.input_tokens for each in found] == exact.count_tokens(PAIRS)
    assert found[0].usage.calls == 1
    assert [each.cut for each in found] == [False] * 13 + [True]
    assert found[-1].input_tokens == 512
    (empty,) = exact.score_pairs([("", "")])
    assert (empty.input_tokens, empty.cut) == (3, False)


def test_max_tokens_cuts_passages_and_never_a_query(folder: Path) -> None:
    # [CLS], three tokens of the query, [SEP], two of the passage, [SEP]
    short = CrossEncoder(folder, dtype="float32", device="cpu", max_tokens=8)
    found, same = short.score_pairs(
        [("birds that fish", "water bird river stone"), ("birds that fish", "water bird")]
    )
    assert (found.input_tokens, found.cut, same.cut) == (8, True, False)
    assert found.score == pytest.approx(same.score, abs=1e-5)


def test_a_query_that_leaves_no_room_fails_alone(folder: Path) -> None:
    short = CrossEncoder(folder, dtype="float32", device="cpu", max_tokens=12)
    long = "word " * 9, "A heron."
    with pytest.raises(InputError, match=r"a query has 9 tokens, .* no room .* in the 12"):
        short.score_pairs([long])
    fine = QUERIES[1], "A heron."
    with pytest.raises(BatchError) as failed:
        short.score_pairs([fine, long, fine])
    results = failed.value.results
    assert isinstance(results[1], InputError)
    assert [results[0], results[2]] == short.score_pairs([fine, fine])


def test_unpaired_surrogates_are_read_as_question_marks(exact: CrossEncoder) -> None:
    broken, same = exact.score_pairs([("who\ud800", "a \udfff heron"), ("who?", "a ? heron")])
    assert broken == same


def test_threads_share_it(exact: CrossEncoder) -> None:
    expected = [scores(exact.score_pairs([pair])) for pair in PAIRS]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda pair: scores(exact.score_pairs([pair])), PAIRS))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_model_of_several_modules(tmp_path: Path) -> None:
    """As sentence-transformers saves those that put layers of its own on a plain transformer."""
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(0)
        body = Transformer(str(MINILM))
        head = Dense(384, 1, activation_function=torch.nn.Identity(), module_output_name="scores")
        whole = Reference(modules=[body, Pooling(384, "cls"), head], device="cpu")
        whole.save_pretrained(str(tmp_path), create_model_card=False)
    found = CrossEncoder(tmp_path, dtype="float32", device="cpu").score_pairs(PAIRS[:3])
    logits = whole.predict(PAIRS[:3], activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(scores(found), logits, atol=1e-5)


def test_says_what_it_is(exact: CrossEncoder, folder: Path) -> None:
    assert (exact.name, exact.max_tokens) == (str(folder), 512)
    assert exact.revision.endswith("-float32")


def test_an_embedder_is_no_cross_encoder() -> None:
    """Its head would be drawn at random, and its scores say nothing."""
    with pytest.raises(ModelError, match="not a cross-encoder: it has no weights of 'classifier'"):
        CrossEncoder(MINILM)


def test_a_language_model_is_no_cross_encoder(make_model: MakeModel) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["yes", "no"])
    with pytest.raises(ModelError, match=r"asks a chat or language model, .* YesNo"):
        CrossEncoder(make_model(tokenizer))


def test_a_classifier_is_no_cross_encoder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gives 3 scores, not one"):
        CrossEncoder(write_cross_encoder(tmp_path, labels=3))


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of the model whose files can be changed."""
    copied = tmp_path / "model"
    shutil.copytree(folder, copied)
    return copied


def test_pickled_weights_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        CrossEncoder(copy)


def test_code_beside_a_model_is_not_run(copy: Path) -> None:
    (copy / "custom.py").write_text("raise SystemExit('ran')")
    config = json.loads((copy / "config.json").read_text())
    config["model_type"] = "custom"
    config["auto_map"] = {"AutoConfig": "custom.Config"}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="trust_remote_code"):
        CrossEncoder(copy)


@pytest.mark.parametrize("broken", ["config.json", "model.safetensors"])
def test_a_broken_folder_is_a_model_error(copy: Path, broken: str) -> None:
    (copy / broken).write_bytes(b"{")
    with pytest.raises(ModelError, match="cannot be loaded"):
        CrossEncoder(copy)


def test_offline_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelNotFound, match="the hub was not asked, being offline"):
        CrossEncoder("nobody/nothing", offline=True)
    monkeypatch.setenv("RAG_OFFLINE", "1")
    with pytest.raises(ModelNotFound, match="the hub was not asked, being offline"):
        CrossEncoder("nobody/nothing")


def test_what_cannot_be_is_refused(folder: Path) -> None:
    with pytest.raises(ModelNotFound, match="is not a folder"):
        CrossEncoder(folder / "config.json")
    with pytest.raises(InputError, match="int8"):
        CrossEncoder(folder, dtype="int8")
    with pytest.raises(InputError, match=r"max_tokens is 513 but .* reads 512"):
        CrossEncoder(folder, max_tokens=513)


def test_missing_package_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r"ragmeter\[local\]"):
        CrossEncoder(folder)
