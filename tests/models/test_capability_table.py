"""The table of docs/models.md says what the backends say."""

from pathlib import Path
from typing import get_args

from rag.core.capabilities import Capability
from rag.models import VLLM, TransformersLLM
from rag.models.http.servers import GenericServer, LlamaCppServer, VLLMServer

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
COLUMNS = [
    (TransformersLLM.capabilities, TransformersLLM.capabilities),
    (VLLM.capabilities, VLLM.capabilities),
    *(
        (server.capabilities(tokenizer=False), server.capabilities(tokenizer=True))
        for server in (LlamaCppServer(), VLLMServer(), GenericServer())
    ),
]


def test_the_table_is_not_stale() -> None:
    _, table = PAGE.read_text("utf-8").split("server: any other |\n")
    found: dict[str, list[str]] = {}
    for line in table.splitlines()[1:]:
        if not line:
            break
        names, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        found |= dict.fromkeys((name.strip(" `") for name in names.split(",")), cells)
    assert set(found) == set(get_args(Capability))
    for name, cells in found.items():
        for cell, (bare, with_tokenizer) in zip(cells, COLUMNS, strict=True):
            said = {"yes": (True, True), "with `tokenizer`": (False, True), "": (False, False)}
            assert said[cell] == (name in bare, name in with_tokenizer)
