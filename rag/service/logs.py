"""The service's log: one line for each request and each job, on standard error.

It holds no questions, no texts and no keys. The messages of most errors are kept out of it, too,
since they may quote what somebody sent: a traceback says where something failed, and of what kind
it was. At the level 'debug' they are there.
"""

from __future__ import annotations

import logging
import sqlite3
import sys
import traceback
from types import TracebackType
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from rag.core.errors import CollectionError, MissingExtra
from rag.service.request_ids import request_id
from rag.service.settings import Logs

_TELL_OF_THE_MACHINE = (OSError, sqlite3.Error, CollectionError, MissingExtra)
"""Errors whose messages speak of files and of what is installed, not of what was sent."""

log: structlog.stdlib.BoundLogger = structlog.wrap_logger(
    logging.getLogger("rag.service"),
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
)
"""The service's logger: `log.info("what happened", status=200, …)`."""


def configure_logs(settings: Logs, stream: TextIO | None = None) -> None:
    """Write the log, and the warnings of the libraries, as the settings say.

    Args:
        settings: Format and level.
        stream: Where to write; standard error unless given.
    """
    stream = stream or sys.stderr
    render: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                _first_line,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.stdlib.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                _add_request_id,
                _Traceback(messages=settings.level == "debug"),
                render,
            ]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("rag.service").setLevel(settings.level.upper())
    logging.captureWarnings(True)


def _first_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Cut what libraries append to their warnings, such as the values at hand."""
    if not event["_from_structlog"]:
        event["event"] = event["event"].partition("\n")[0]
    return event


def _add_request_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if request_id.get():
        event["request_id"] = request_id.get()
    return event


class _Traceback:
    """Turns an exception into text.

    Args:
        messages: Whether to include the messages of all errors.
    """

    def __init__(self, *, messages: bool) -> None:
        self._messages = messages

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        given = event.pop("exc_info", None)
        error = given[1] if isinstance(given, tuple) else given
        if isinstance(error, BaseException):
            event["exception"] = "\n".join(self._described(error))
        return event

    def _described(self, error: BaseException) -> list[str]:
        before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        lines = [*self._described(before), "", "and then:", ""] if before else []
        message = str(error) if self._messages or isinstance(error, _TELL_OF_THE_MACHINE) else ""
        kind = f"{type(error).__module__}.{type(error).__qualname__}"
        return [*lines, *_frames(error.__traceback__), f"{kind}: {message}" if message else kind]


def _frames(of: TracebackType | None) -> list[str]:
    return [line.rstrip() for line in traceback.format_tb(of)]
