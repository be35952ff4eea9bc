"""Write docs/settings.md from the settings themselves."""

import inspect
import json
import re
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from rag.service.settings import PipelineSettings, Section, Settings

_HEAD = """# Settings of the service

`make docs` writes this page from the settings themselves. `rag serve --config FILE` reads them
from TOML. The environment comes before the file: `RAG_SERVICE_SERVER__PORT=8080` is `port` of
`[server]`. Options of the command come before both. A key that is not here is refused. There is an
[example](deploy/ragmeter.toml).
"""


def settings() -> str:
    """Return the page."""
    own = {name: field for name, field in Settings.model_fields.items() if not _section(field)}
    parts = [_HEAD, _table(Settings, own)]
    for name, field in Settings.model_fields.items():
        section = PipelineSettings if name == "pipelines" else _section(field)
        if section:
            title = "[pipelines.NAME]" if name == "pipelines" else f"[{name}]"
            parts.append(f"\n## `{title}`\n\n{_first_paragraph(section)}\n\n{_table(section)}")
    return "\n".join(parts) + "\n"


def _section(field: FieldInfo) -> Any:
    kind = field.annotation
    if isinstance(kind, type) and issubclass(kind, Section):
        return kind
    return None


def _first_paragraph(section: type[Section]) -> str:
    return (inspect.getdoc(section) or "").split("\n\n")[0]


def _table(section: type[Section], fields: dict[str, FieldInfo] | None = None) -> str:
    said = _attributes(section)
    rows = [
        f"| `{name}` | {_default(field)} | {said[name]} |"
        for name, field in (fields or section.model_fields).items()
        if name != "pipelines"
    ]
    return "\n".join(["| key | default | |", "|---|---|---|", *rows])


def _attributes(section: type[Section]) -> dict[str, str]:
    """Return what the docstring says of each attribute, on one line."""
    _, _, listed = (inspect.getdoc(section) or "").partition("Attributes:\n")
    found = re.findall(r"^    (\w+): (.+(?:\n {8}.*)*)", listed, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _default(field: FieldInfo) -> str:
    if field.default_factory:
        return ""
    value = field.default
    if value is None:
        return "none"
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"


if __name__ == "__main__":
    Path(__file__).with_name("settings.md").write_text(settings(), encoding="utf-8")
