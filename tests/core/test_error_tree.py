"""The tree drawn in the docstring of `rag.core.errors` is the tree of the classes."""

import re

from rag.core import errors


def drawn() -> list[tuple[int, str]]:
    lines = re.findall(r"^    ([│ ]*(?:[├└]── )?)(\w+)", errors.__doc__ or "", re.MULTILINE)
    return [(len(indent) // 4, name) for indent, name in lines]


def real(kind: type[Exception], depth: int = 0) -> list[tuple[int, str]]:
    below = (child for child in kind.__subclasses__() if child.__module__ == errors.__name__)
    return [(depth, kind.__name__), *(line for child in below for line in real(child, depth + 1))]


def test_the_docstring_draws_the_real_tree() -> None:
    assert drawn() == real(errors.RagError)
