"""Names of uploaded documents, which are never used as paths."""

from __future__ import annotations

import re
import unicodedata

from rag.core.errors import InputError

LONGEST = 512
"""Characters of a name."""

# What is not seen, or makes a name look like another: control characters, line separators,
# marks that turn the direction of writing, halves of surrogate pairs.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def clean_name(name: str) -> str:
    r"""Return a document's name: composed (NFC), with `/` where `\` stood.

    Args:
        name: A name as it was sent.

    Raises:
        InputError: It is empty or too long, has hidden characters, or has a part that is blank,
            '.' or '..', as a path could.
    """
    cleaned = unicodedata.normalize("NFC", name).replace("\\", "/")
    if not cleaned:
        raise InputError("it has no name")
    if len(cleaned) > LONGEST:
        raise InputError(f"its name is longer than {LONGEST} characters")
    if _HIDDEN.search(cleaned):
        raise InputError("its name has control characters or others that are not seen")
    for part in cleaned.split("/"):
        if part.strip() in ("", ".", ".."):
            raise InputError(f"its name has the part {part!r}; give a name, not a path")
    return cleaned
