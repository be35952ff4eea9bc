"""A parser of server-sent events, after section 9.2.6 of the HTML standard."""

import json
import re
from typing import Any


def parse(stream: bytes) -> list[tuple[str, str]]:
    """Return the events that a browser would dispatch: their types and data."""
    events: list[tuple[str, str]] = []
    kind, data = "", list[str]()
    *lines, _unfinished = re.split("\r\n|\r|\n", stream.decode("utf-8").removeprefix("\ufeff"))
    for line in lines:
        if not line:
            if data:
                events.append((kind or "message", "\n".join(data)))
            kind, data = "", []
            continue
        field, _, value = line.partition(":")  # a comment is a field without a name
        value = value.removeprefix(" ")
        if field == "event":
            kind = value
        elif field == "data":
            data.append(value)
    return events


def parse_json(stream: bytes) -> list[tuple[str, Any]]:
    """Return the events of a stream whose data are JSON."""
    return [(kind, json.loads(data)) for kind, data in parse(stream)]
