"""The latest answers, kept for what people say of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from rag.service.access import Caller
from rag.service.answer_schemas import AnswerReply, AnswerRequest, FeedbackReply, FeedbackRequest
from rag.service.database import Database
from rag.service.errors import ApiError


class AnswerLog:
    """Keeps answers and feedback in the service's database.

    Of an answer everything is kept but the passages that were read: those of a document that is
    deleted would still be there.

    Args:
        database: Where they are kept.
        keep: How many answers; older ones are dropped, with their feedback.
    """

    def __init__(self, database: Database, keep: int) -> None:
        self._database = database
        self._keep = keep

    def add(self, request: AnswerRequest, reply: AnswerReply, caller: Caller) -> None:
        """Keep an answer.

        Raises:
            StorageError: The disk refused.
        """
        if self._keep == 0:
            return
        with self._database.write() as connection:
            (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM answers").fetchone()
            connection.execute(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    reply.id,
                    last + 1,
                    caller.key_id,
                    request.collection,
                    reply.pipeline,
                    request.question,
                    reply.model_dump_json(exclude={"hits"}),
                    _now(),
                ),
            )
            connection.execute("DELETE FROM answers WHERE number <= ?", (last + 1 - self._keep,))

    def rate(self, feedback: FeedbackRequest, caller: Caller) -> None:
        """Keep what a caller thinks of an answer that they got.

        Raises:
            ApiError: There is no such answer, or somebody else got it.
            StorageError: The disk refused.
        """
        with self._database.write() as connection:
            found = connection.execute(
                "SELECT 1 FROM answers WHERE id = ? AND key_id IS ?",
                (feedback.answer_id, caller.key_id),
            ).fetchone()
            if found is None:
                raise ApiError(
                    404,
                    "answer_not_found",
                    "you got no such answer, or it is too old to be kept",
                    param="answer_id",
                )
            connection.execute(
                "INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?)",
                (feedback.answer_id, feedback.rating, feedback.comment, _now()),
            )

    def feedback(self, caller: Caller, limit: int) -> tuple[FeedbackReply, ...]:
        """Return feedback on the collections that a caller may use, the latest first.

        Answers from the web alone are shown to those who may use all collections.
        """
        seen = None if caller.collections is None else json.dumps(sorted(caller.collections))
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT answer_id, rating, comment, feedback.created, question, "
                "answer ->> 'text' AS answer, collection, pipeline "
                "FROM feedback JOIN answers ON answers.id = feedback.answer_id "
                "WHERE ?1 IS NULL OR collection IN (SELECT value FROM json_each(?1)) "
                "ORDER BY feedback.created DESC, answers.number DESC LIMIT ?2",
                (seen, limit),
            ).fetchall()
        return tuple(FeedbackReply(**row) for row in rows)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
