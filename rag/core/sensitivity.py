"""Sensitivity: who may learn of a text, and of what was made from it.

A sensitivity is a set of tags. The empty set is public; more tags are more sensitive; what is made
from several texts has the tags of all of them. So sets, ordered by inclusion, are the lattice of
labels that information-flow control needs, whatever tags a user comes up with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Sensitivity: TypeAlias = frozenset[str]
"""The tags of a text."""

PUBLIC: Sensitivity = frozenset()
"""What anyone may learn of, a search engine included."""

INTERNAL: Sensitivity = frozenset({"internal"})
"""What documents have that say nothing else."""


def sensitivity_of(metadata: Mapping[str, Any]) -> Sensitivity:
    """Return what metadata says in `sensitivity`: 'public', a tag, or a list of tags.

    Where it says nothing, or nothing that can be read so, the text is internal.
    """
    stated = metadata.get("sensitivity")
    tags: list[Any] = stated if isinstance(stated, list) else [stated]
    if not tags or not all(isinstance(tag, str) and tag.strip() for tag in tags):
        return INTERNAL
    return frozenset(tag.strip() for tag in tags) - {"public"}


def named(sensitivity: Sensitivity) -> str:
    """Return a sensitivity in words: 'public', or its tags in order."""
    return " + ".join(sorted(sensitivity)) or "public"
