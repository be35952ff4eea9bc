"""A small real collection, a tiny model, and what tests of encoded passages do with them."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from rag.cli import main
from rag.context import ApeSettings, ContextStore
from rag.context.calibration import Calibration, Measurement, Share
from rag.context.model_folder import model_folders

FACTS = {
    "lindau": "The tower in the harbour of Lindau is 33 metres tall.",
    "paris": "The tower in Paris weighs 10,100 tonnes, and is painted every seven years.",
    "ferry": "The ferry to Rorschach leaves at nine, at noon and at five.",
    "library": "The library opens at ten and closes at six, but not on Mondays.",
    "bridge": "The old bridge was closed in spring, after a flood.",
}


def rag(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert done.exit_code == code, done.output
    return done


def rag_json(*arguments: object, code: int = 0) -> Any:
    return json.loads(rag(*arguments, "--json", code=code).stdout)


def write_facts(folder: Path) -> Path:
    folder.mkdir()
    for name, text in FACTS.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def store_of(folder: Path, *, int8: bool = False) -> ContextStore:
    """Return the store of the only model that a folder has something of."""
    (found,) = model_folders(folder)
    return ContextStore(folder, found.model, found.revision, int8=int8)


def calibration_of(
    store: ContextStore, settings: ApeSettings, share: float = 1.0
) -> dict[str, Any]:
    """Return what calibrating might have found, on 31 January 2026."""
    tuned = Measurement(settings, {"single-hop": Share(share, share, share, 20)})
    made = Calibration(store.model, store.revision, "2026-01-31", 0.95, (), tuned, tuned, ())
    return made.as_json()


def damage(entry: Path) -> None:
    """Change one number in the states of an encoded passage."""
    content = bytearray(entry.read_bytes())
    content[-5] ^= 1
    entry.write_bytes(content)
