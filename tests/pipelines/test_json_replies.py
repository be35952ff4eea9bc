import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.errors import Unsupported
from rag.core.generation import Prompt, Reply, Sampling
from rag.core.operations import Generate
from rag.pipelines.json_replies import generate_json, parse_object

SCHEMA = {"type": "object"}
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Sure!\n```json\n{"a": {"b": []}}\n```\nAnything else?', {"a": {"b": []}}),
        ('The form is {"a": 0}. <think>{a}</think> {"a": 1}', {"a": 1}),
        ('{"a": 1} {"a": ', {"a": 1}),
        ('{"a": 1', None),
        ("{'a': 1}", None),
        ("[1, 2]", None),
        ("{" * 2000, None),
        ('{"a":' * 2000, None),
        ("", None),
    ],
)
def test_the_last_object_counts(text: str, stated: Any) -> None:
    assert parse_object(text) == stated


@given(
    st.dictionaries(st.text(max_size=4), values, max_size=3),
    st.text(alphabet="ab{[\"' \n", max_size=20),
)
def test_an_object_is_found_whatever_stands_before(stated: dict[str, Any], before: str) -> None:
    assert parse_object(f"{before}\n{json.dumps(stated)}") is not None


def test_a_backend_that_follows_no_schema_writes_freely() -> None:
    program = generate_json(Prompt("?"), SCHEMA, 40, None, "plan")
    held = program.send(None)
    assert held == Generate(Prompt("?"), Sampling(40, json_schema=SCHEMA), stage="plan")
    free = program.throw(Unsupported("model", "json_schema", "use another"))
    assert free == Generate(Prompt("?"), Sampling(40), stage="plan")
    with pytest.raises(StopIteration) as stop:
        program.send(Reply("{}"))
    assert stop.value.value == Reply("{}")
