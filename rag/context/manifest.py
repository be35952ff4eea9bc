"""What is known of a model beside the states of its contexts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from rag.context.whole_files import replace_file

MANIFEST_NAME = "manifest.json"


class Manifest(BaseModel):
    """What is known of a model beside the states of its contexts.

    Args:
        format: Version of the file.
        model: Name of the model.
        revision: Version of its weights and of the numbers it computes with.
        calibration: What calibrating it found, as whoever did so wrote it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    model: str
    revision: str
    calibration: dict[str, Any] | None = None

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read the manifest of a folder; None if it has none.

        Raises:
            ValueError: It cannot be used; the message says why.
        """
        try:
            return cls.model_validate_json((folder / MANIFEST_NAME).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ValueError(f"it cannot be read: {error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error

    def write(self, folder: Path) -> None:
        """Write it; its file is there whole or not at all, since nothing makes it anew.

        Raises:
            OSError: The disk refused.
        """
        content = self.model_dump_json(indent=2).encode() + b"\n"
        replace_file(folder / MANIFEST_NAME, content, sync=True)
