import pytest

from rag.core.errors import InputError
from rag.core.generation import Prompt, Sampling


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
