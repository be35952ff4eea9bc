from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rag.core.generation import Sampling
from rag.models.constraints import Beginning, Choice
from rag.models.decoding import Draft, _sample
from tests.models.conftest import byte_tokenizer

END = 2


@cache
def tokenizer() -> Any:
    return byte_tokenizer()


def draft(sampling: Sampling, **choices: list[int]) -> Draft:
    ends = frozenset([END])
    return Draft([0, 1], sampling, tokenizer(), ends, Choice(choices, ends) if choices else None)


def choosing(**choices: list[int]) -> Draft:
    return draft(Sampling(choices=tuple(choices)), **choices)


@given(
    text=st.text(alphabet=st.sampled_from("ab<>\n é🙂東"), max_size=30),
    stops=st.lists(st.text(alphabet=st.sampled_from("ab<>\n é🙂東"), min_size=1, max_size=4)),
)
def test_pieces_are_the_text_before_the_first_stop_string(text: str, stops: list[str]) -> None:
    """Whatever the tokens: no broken character, no part of a stop string, nothing lost."""
    writing = draft(Sampling(max_tokens=1000, stop=tuple(stops)))
    pieces = []
    for token in [*tokenizer().encode(text, add_special_tokens=False).ids, END]:
        writing.take(token)
        pieces.append(writing.hand_out())
        if writing.finish:
            break
    assert "".join(pieces) == writing.text
    assert text.startswith(writing.text)
    assert not any(stop in writing.text for stop in stops)
    if writing.text != text:
        assert any(text.startswith(stop, len(writing.text)) for stop in stops)
    assert writing.finish == "stop"


def test_the_earliest_stop_string_wins() -> None:
    writing = draft(Sampling(stop=("cd", "bc")))
    for token in tokenizer().encode("abc", add_special_tokens=False).ids:
        writing.take(token)
    assert (writing.text, writing.finish) == ("a", "stop")


def test_a_character_cut_by_max_tokens_is_left_out() -> None:
    ids = tokenizer().encode("a🙂", add_special_tokens=False).ids
    writing = draft(Sampling(max_tokens=len(ids) - 1))
    for token in ids[:-1]:
        writing.take(token)
    assert (writing.text, writing.finish) == ("a", "length")
    assert writing.reply.output_tokens == len(ids) - 1


class TestChoices:
    def test_only_tokens_that_go_on_with_a_choice_are_allowed(self) -> None:
        texts = {"yes": [10, 11], "yesterday": [10, 11, 12], "no": [13, 14]}
        choice = Choice(texts, frozenset([END]))
        assert choice.allowed == [10, 13]
        choice.take(10)
        assert choice.allowed == [11]
        choice.take(11)
        assert choice.allowed == [END, 12]

    def test_a_choice_that_begins_another_can_end(self) -> None:
        writing = choosing(yes=[10], yesterday=[10, 12])
        writing.take(10)
        writing.take(END)
        assert (writing.text, writing.tokens, writing.finish) == ("yes", [10], "stop")

    def test_the_rest_is_written_when_one_choice_is_left(self) -> None:
        writing = choosing(yes=[10, 11, 15], no=[13, 14])
        writing.take(13)
        assert (writing.text, writing.tokens, writing.finish) == ("no", [13, 14], "stop")

    def test_choices_with_the_same_tokens(self) -> None:
        writing = choosing(one=[10], other=[10])
        writing.take(10)
        writing.take(END)
        assert writing.text == "one"


class TestBeginnings:
    def open(self, beginning: Beginning) -> list[int] | None:
        """The tokens that may come next; None for all."""
        logits = beginning.narrow(torch.zeros(20))
        open_ = (logits > -torch.inf).nonzero()[:, 0].tolist()
        return None if len(open_) == 20 else open_

    def test_free_once_one_is_whole(self) -> None:
        beginning = Beginning({"So": [10], "So far so": [10, 11, 12], "No": [13, 14]})
        assert self.open(beginning) == [10, 13]
        beginning.take(10)
        assert self.open(beginning) is None
        beginning.take(11)
        assert self.open(beginning) is None

    def test_along_the_one_that_was_begun(self) -> None:
        beginning = Beginning({"Yes": [10, 11, 12], "No": [13, 14]})
        beginning.take(10)
        assert self.open(beginning) == [11]
        beginning.take(11)
        assert self.open(beginning) == [12]
        beginning.take(12)
        assert self.open(beginning) is None


class TestSampling:
    logits = torch.tensor([2.0, -1.0, 0.5, 1.0, -torch.inf])

    def shares(self, temperature: float, top_p: float) -> torch.Tensor:
        """The share of evenly spread random numbers that each token gets."""
        count = 20_000
        draws = (torch.arange(count)[:, None] + 0.5) / count
        logits = self.logits.expand(count, -1)
        tokens = _sample(logits, torch.tensor(temperature), torch.tensor(top_p), draws)
        return tokens.bincount(minlength=5) / count

    @pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
    def test_draws_by_probability(self, temperature: float) -> None:
        expected = (self.logits / temperature).softmax(-1)
        torch.testing.assert_close(self.shares(temperature, 1.0), expected, atol=1e-3, rtol=0)

    def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(self) -> None:
        probabilities = self.logits.softmax(-1)
        pair = probabilities[0] + probabilities[3]
        alone = self.shares(1.0, float(probabilities[0]) - 1e-3)
        assert alone.tolist() == [1, 0, 0, 0, 0]
        both = self.shares(1.0, float(pair) - 1e-3)
        expected = torch.tensor([probabilities[0] / pair, 0, 0, probabilities[3] / pair, 0])
        torch.testing.assert_close(both, expected, atol=1e-3, rtol=0)

    @pytest.mark.parametrize("draw", [0.0, 1.0])
    def test_impossible_tokens_are_never_drawn(self, draw: float) -> None:
        """Not even at the ends of the range, where rounding could reach one."""
        logits = torch.tensor([[-torch.inf, 0.3, -torch.inf, 0.1]])
        one = torch.ones(1, 1)
        (token,) = _sample(logits, one, one, torch.tensor([[draw]])).tolist()
        assert token == (1 if draw == 0 else 3)

    def test_a_tiny_temperature_is_greedy(self) -> None:
        assert self.shares(1e-30, 1.0).tolist() == [1, 0, 0, 0, 0]
