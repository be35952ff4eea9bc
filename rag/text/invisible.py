"""Characters that show nothing.

They are how text, and instructions to language models, are hidden in plain sight.
"""

from __future__ import annotations

import re

# Zero-width and bidirectional controls, soft hyphens, fillers, tags, and variation selectors other
# than the two that choose between text and emoji.
_SHOWN_NOWHERE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff"
)
# A joiner shows between two characters of scripts such as Persian, and of emoji.
_JOINED = f"[^\x00-\u02ff\u2000-\u206f{_SHOWN_NOWHERE}]"
_INVISIBLE = re.compile(f"[{_SHOWN_NOWHERE}]|[\u200c\u200d](?:(?<!{_JOINED}.)|(?!{_JOINED}))")


def has_invisible(text: str) -> bool:
    """Say whether a text has characters that show nothing."""
    return not text.isascii() and _INVISIBLE.search(text) is not None


def without_invisible(text: str) -> str:
    """Return a text without the characters that show nothing."""
    return text if text.isascii() else _INVISIBLE.sub("", text)
