from collections.abc import Sequence

import pytest

from rag.core.engine import Engine
from rag.core.errors import Unsupported
from rag.core.generation import Prompt
from rag.models.transformers_llm import TransformersLLM
from rag.rerankers.identifiers import Identifiers, choose_identifiers
from rag.testing import EchoLLM
from tests.models.conftest import MakeModel


class PieceLLM(EchoLLM):
    """Tokenises a reply prefix by the longest pieces of a given vocabulary, else by characters."""

    def __init__(self, pieces: Sequence[str]) -> None:
        super().__init__()
        self.pieces = sorted(pieces, key=len, reverse=True)

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        return [7 + self._count(prompt.reply_prefix) for prompt in prompts]

    def _count(self, text: str) -> int:
        count = 0
        while text:
            piece = next((each for each in self.pieces if text.startswith(each)), text[0])
            text = text[len(piece) :]
            count += 1
        return count


def choose(count: int, llm: EchoLLM) -> Identifiers:
    return Engine().run(choose_identifiers(count, llm))


def test_letters_after_a_bracket() -> None:
    chosen = choose(3, PieceLLM([]))
    assert chosen == Identifiers(("A", "B", "C"), "[", (("A",), ("B",), ("C",)))


def test_brackets_that_tokens_hold() -> None:
    """Where '[B' is one token, a model never writes 'B' after '[': its token is '[B'."""
    chosen = choose(20, PieceLLM([f"[{letter}" for letter in "ABCDEFGHIJKLMNPRSTUVWXYZ"]))
    assert chosen.reply_prefix == ""
    assert "O" not in chosen.labels
    assert chosen.tokens[:3] == ("[A", "[B", "[C")


def test_pairs_of_letters_from_27_on() -> None:
    chosen = choose(29, PieceLLM(["AC", "IN", "OR", "XQZ"]))
    assert chosen.labels[24:] == ("Y", "Z", "AC", "IN", "OR")


def test_pairs_of_letters_of_which_a_bracket_takes_the_first() -> None:
    """'[AC' would be '[A' and 'C', so there the reply begins with the bare pair."""
    brackets = [f"[{letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    chosen = choose(28, PieceLLM([*brackets, "AC", "IN"]))
    assert chosen.reply_prefix == ""
    assert chosen.labels[25:] == ("Z", "AC", "IN")
    assert chosen.tokens[25:] == ("Z", "AC", "IN")


def test_too_few_identifiers_are_refused() -> None:
    with pytest.raises(Unsupported, match=r"30 identifiers of one token each \(it has 28\)"):
        choose(30, PieceLLM(["AC", "IN"]))


def test_replies_that_cannot_be_begun_are_bare_letters() -> None:
    llm = EchoLLM(capabilities={"next_token", "generate"})
    assert choose(2, llm).spellings == (("A", " A"), ("B", " B"))
    with pytest.raises(Unsupported, match="smaller window"):
        choose(27, llm)


def test_identifiers_are_those_that_a_real_tokenizer_keeps_whole(smollm2: TransformersLLM) -> None:
    chosen = choose(100, smollm2)
    assert chosen.labels[:27] == (*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", chosen.labels[26])
    tokenizer = smollm2._encoder.backend
    ids = tokenizer.encode("assistant\n[").ids
    for label in chosen.labels:
        joined = tokenizer.encode(f"assistant\n[{label}").ids
        assert joined[:-1] == ids
        assert smollm2._encoder.text_of(joined[-1]) == label


def test_models_without_a_template(make_model: MakeModel) -> None:
    """An empty prompt of theirs has a stand-in token, which must not count."""
    llm = TransformersLLM(make_model(template=None), dtype="float32")
    assert choose(3, llm) == Identifiers(("A", "B", "C"), "[", (("A",), ("B",), ("C",)))
