"""Prompt templates: TOML files that anyone can read, list and replace.

A template has the keys `description`, `system`, `context`, `example`, `question` and
`reply_prefix`; all but `description` and `question` may be left out. `{name}` in a text stands for
a value, and the loader checks that every name is one that there is.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from rag.core.documents import Passage
from rag.core.errors import DataError, InputError
from rag.core.generation import Prompt
from rag.core.hits import Hit

SHIPPED = Path(__file__).parent / "prompts"
"""The folder of the templates that come with the toolkit."""

_CONTEXT_NAMES = frozenset({"number", "label", "text", "passage"})
_QUESTION_NAMES = frozenset({"question", "count", "top", "date"})
_EXAMPLE_NAMES = frozenset({"question", "reply"})
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_FENCE = re.compile(r"<(?=\s*/?\s*passage\b)", re.IGNORECASE)
_IDENTIFIER = re.compile(r"\[\s*(\w{1,4})\s*\]")


@dataclass(frozen=True, slots=True)
class Shot:
    """A worked example as a prompt shows it.

    Args:
        question: The question.
        reply: What the model is to write for it.
        hits: Passages that are shown with it, best first.
    """

    question: str
    reply: str
    hits: tuple[Hit, ...] = ()


@dataclass(frozen=True, slots=True)
class Template:
    """How a pipeline or a reranker words its prompt.

    Args:
        name: Name of the file, without its suffix.
        path: The file.
        description: What the template is for, in one sentence.
        question: The request; `{question}` stands for the question, `{count}` for the number of
            passages, `{top}` for the number of those to name, `{date}` for today's date.
        system: The system message, with the same names.
        context: One passage; `{number}`, `{label}` and `{text}` stand for its parts, `{passage}`
            for the label, where there is one, and the text on a line of its own.
        example: What follows the passages of a worked example; `{question}` and `{reply}` stand
            for its question and its reply.
        reply_prefix: What the reply begins with.
    """

    name: str
    path: Path
    description: str
    question: str
    system: str = ""
    context: str = '<passage number="{number}">\n{text}\n</passage>'
    example: str = "Question: {question}\n{reply}"
    reply_prefix: str = ""

    def render(
        self,
        question: str,
        hits: Sequence[Hit],
        *,
        nearest: bool = True,
        identifiers: Sequence[str] = (),
        top: int | None = None,
        shots: Sequence[Shot] = (),
        date: str = "",
    ) -> Prompt:
        """Return the prompt for a question over passages.

        A passage is data: what looks like a passage's fence inside it is escaped, so that a text
        cannot end its passage and speak as if it were the instructions. Where identifiers are
        given, so is what looks like one of them in brackets.

        Args:
            question: The question.
            hits: The passages, best first.
            nearest: Whether the best passage comes last, next to the question
                (arXiv 2410.04343, section 3.2), or first.
            identifiers: What each passage is called; numbers from 1 unless given.
            top: How many passages the reply is to name; all of them unless given.
            shots: Worked examples, in order; each is a context of its own, before the passages.
            date: The day on which the question is asked, such as '2026-03-31'.
        """
        contexts = self._passages(hits, identifiers, nearest=nearest)
        examples = [
            "\n\n".join(
                (
                    *self._passages(shot.hits, nearest=nearest),
                    _fill(self.example, {"question": shot.question, "reply": shot.reply}),
                )
            )
            for shot in shots
        ]
        values = {
            "question": question,
            "count": str(len(hits)),
            "top": str(len(hits) if top is None else top),
            "date": date,
        }
        return Prompt(
            question=_fill(self.question, values),
            system=_fill(self.system, values),
            contexts=(*examples, *contexts),
            reply_prefix=self.reply_prefix,
        )

    def _passages(
        self, hits: Sequence[Hit], identifiers: Sequence[str] = (), *, nearest: bool
    ) -> list[str]:
        names = identifiers or [str(number) for number in range(1, len(hits) + 1)]
        passages = [
            _fill(self.context, _parts(hit.passage, name, escape=bool(identifiers)))
            for name, hit in zip(names, hits, strict=True)
        ]
        return passages[::-1] if nearest else passages


def load_template(name: str, folder: Path | None = None) -> Template:
    """Load a template by name.

    Args:
        name: Name of the template, such as 'read'.
        folder: A folder of your own; a template found there replaces the shipped one.

    Raises:
        InputError: There is no such template.
        DataError: The file is malformed.
    """
    for place in (folder, SHIPPED):
        if place is not None and (path := place / f"{name}.toml").is_file():
            return _read(path)
    known = ", ".join(sorted(path.stem for path in SHIPPED.glob("*.toml")))
    raise InputError(f"no prompt template '{name}'; there are {known}")


def templates(folder: Path | None = None) -> Iterator[Template]:
    """Yield the templates in use, by name: the shipped ones, or those that replace them."""
    names = {path.stem for place in (folder, SHIPPED) if place for path in place.glob("*.toml")}
    for name in sorted(names):
        yield load_template(name, folder)


def _read(path: Path) -> Template:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(str(path), f"not TOML: {error}") from error
    known = {each.name for each in fields(Template)} - {"name", "path"}
    for key, value in values.items():
        if key not in known:
            raise DataError(str(path), f"unknown key '{key}'; there are {', '.join(sorted(known))}")
        if not isinstance(value, str):
            raise DataError(str(path), f"'{key}' is not a string")
    for key in ("description", "question"):
        if key not in values:
            raise DataError(str(path), f"no '{key}'")
    template = Template(path.stem, path, **{key: text.strip("\n") for key, text in values.items()})
    _check(path, "context", template.context, _CONTEXT_NAMES)
    _check(path, "example", template.example, _EXAMPLE_NAMES)
    _check(path, "question", template.question, _QUESTION_NAMES)
    _check(path, "system", template.system, _QUESTION_NAMES)
    return template


def _check(path: Path, key: str, text: str, names: frozenset[str]) -> None:
    for name in _PLACEHOLDER.findall(text):
        if name not in names:
            choices = ", ".join(f"{{{each}}}" for each in sorted(names))
            raise DataError(str(path), f"'{key}' has {{{name}}}; it can have {choices}")


def _fill(text: str, values: Mapping[str, str]) -> str:
    # One pass, so that a value which looks like a placeholder stays as it is.
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)


def _parts(passage: Passage, name: str, *, escape: bool) -> dict[str, str]:
    label, text = _FENCE.sub("&lt;", passage.label), _FENCE.sub("&lt;", passage.text)
    if escape:
        label, text = _IDENTIFIER.sub(r"(\1)", label), _IDENTIFIER.sub(r"(\1)", text)
    # The label may stand inside quotes, on one line.
    label = " ".join(label.replace('"', "'").split())
    return {
        "number": name,
        "label": label,
        "text": text,
        "passage": f"{label}\n{text}" if label else text,
    }
