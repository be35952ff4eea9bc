import pytest

from rag.core.errors import InputError
from rag.core.generation import Prompt, Reply, Sampling
from rag.core.usage import Usage


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"seed": -1}, "seed is -1"),
        ({"stop": ("a", "")}, "empty stop string"),
    ],
)
def test_sampling_out_of_range(values: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Sampling(**values)


def test_user_turn() -> None:
    assert Prompt("Who?", contexts=("One.", "Two.")).user == "One.\n\nTwo.\n\nWho?"
    assert Prompt("Who?").user == "Who?"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"n": 0}, "n is 0"),
        ({"n": 2}, "2 greedy replies"),
        ({"logprobs": -1}, "logprobs is -1"),
        ({"starts_with": ("",)}, "leave starts_with empty"),
        ({"starts_with": ("a",), "choices": ("b",)}, "one of choices, starts_with"),
        ({"json_schema": {}, "choices": ("b",)}, "one of choices, starts_with"),
        ({"json_schema": "{"}, "json_schema is not JSON"),
        ({"json_schema": "[1]"}, "not a JSON object"),
        ({"json_schema": {"const": float("nan")}}, "json_schema is not JSON"),
        ({"json_schema": {"const": {1, 2}}}, "json_schema is not JSON"),
    ],
)
def test_sampling_that_no_backend_can_follow(values: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Sampling(**values)


def test_a_schema_keeps_the_order_of_its_properties() -> None:
    properties = {"verdict": {"type": "boolean"}, "because": {"type": "string"}}
    schema = Sampling(json_schema={"type": "object", "properties": properties}).schema
    assert list(schema["properties"]) == ["verdict", "because"]


def test_a_schema_can_be_given_as_text_or_mapping() -> None:
    mapping = Sampling(json_schema={"type": "object", "properties": {}})
    text = Sampling(json_schema='{"type":  "object", "properties": {}}')
    assert mapping == text
    assert hash(mapping) == hash(text)
    assert mapping.schema == {"type": "object", "properties": {}}
    assert Sampling().schema is None


def test_what_repeats_itself() -> None:
    assert Sampling().deterministic
    assert Sampling(temperature=1, seed=0).deterministic
    assert not Sampling(temperature=1).deterministic


def test_usage_of_several_samples() -> None:
    second = Reply("b", output_tokens=3)
    reply = Reply("a", others=(second,), input_tokens=9, cached_tokens=4, output_tokens=2)
    assert reply.samples == (reply, second)
    assert reply.usage == Usage(9, 4, 5, calls=1)


def test_usage_says_what_was_kept_retried_and_estimated() -> None:
    reply = Reply("a", input_tokens=9, estimated_tokens=9, retries=2, from_cache=True)
    assert reply.usage == Usage(9, calls=1, estimated_tokens=9, retries=2, cache_hits=1)
