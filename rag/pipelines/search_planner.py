"""Whether a question needs a web search, and for what to search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args

from rag.core.errors import BudgetExhausted, CallFailed, ContextOverflow, InputError
from rag.core.generation import Prompt
from rag.core.protocols import LLM
from rag.core.templates import load_template
from rag.core.web import TimeRange
from rag.pipelines.json_replies import generate_json, parse_object
from rag.pipelines.keywords import as_query, clean, named_years

SearchMode = Literal["auto", "always", "verbatim", "never"]
"""Who plans:

- auto: the model decides whether to search, and for what;
- always: the model writes the queries;
- verbatim: nobody; the question is searched for as it is;
- never: nobody, and nothing is searched for."""

_MAX_TOKENS = 160
_REPAIR = (
    "\n\nAn earlier reply could not be read: {reply!r}. Answer with one JSON object that has "
    '"needs_search", "queries" and "time_range", and nothing else.'
)


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """What to search for.

    Args:
        search: Whether to search at all.
        queries: What to search for; at least one where there is a search.
        time_range: How old pages may be; None for any age.
        notes: What fell short on the way, one sentence each.
    """

    search: bool
    queries: tuple[str, ...] = ()
    time_range: TimeRange | None = None
    notes: tuple[str, ...] = ()


class SearchPlanner:
    """Has a model decide in one call whether to search, for which keywords, how far back.

    The parser of arXiv 2411.19478, without training. A reply that cannot be read is asked for once
    more; where that does not help, the call fails or a budget allows none, the question itself is
    searched for, and the plan's notes say so: a search too many is better than an answer that
    nothing supports. Queries are cleaned, and years that the question does not speak of are left
    out of them, which is noted, too.

    Args:
        llm: The model; the engine's unless given.
        mode: Who plans; 'verbatim' and 'never' ask no model.
        max_queries: Queries of a plan at most.
        prompts: A folder whose `search_plan.toml` replaces the shipped prompt.
        today: Returns the day on which a question is asked.

    Raises:
        InputError: There is no such mode, or `max_queries` is less than 1.
    """

    def __init__(
        self,
        llm: LLM | None = None,
        *,
        mode: SearchMode = "auto",
        max_queries: int = 3,
        prompts: Path | None = None,
        today: Callable[[], date] = date.today,
    ) -> None:
        if mode not in get_args(SearchMode):
            raise InputError(f"mode is {mode!r}; there are {', '.join(get_args(SearchMode))}")
        if max_queries < 1:
            raise InputError(f"max_queries is {max_queries}; it must be at least 1")
        self.llm = llm
        self.mode = mode
        self.max_queries = max_queries
        self.today = today
        self.template = load_template("search_plan", prompts)
        self._schema = _schema(mode, max_queries)

    async def program(self, question: str) -> SearchPlan:
        """Ask, repair, clean."""
        if self.mode == "never":
            return SearchPlan(False)
        if self.mode == "verbatim":
            return SearchPlan(True, (question,))
        today = self.today()
        prompt = self.template.render(question, (), top=self.max_queries, date=today.isoformat())
        try:
            plan = await self._ask(prompt)
        except (BudgetExhausted, CallFailed, ContextOverflow) as error:
            return _unplanned(question, str(error))
        if plan is None:
            return _unplanned(question, "two replies in a row could not be read")
        if self.mode == "auto" and not plan.search:
            return SearchPlan(False)
        return self._checked(plan, question, today)

    async def _ask(self, prompt: Prompt) -> SearchPlan | None:
        """Return what the model plans, as it stands; None if it cannot be read."""
        reply = await generate_json(prompt, self._schema, _MAX_TOKENS, self.llm, "plan")
        if plan := _read(reply.text):
            return plan
        again = replace(prompt, question=prompt.question + _REPAIR.format(reply=reply.text[:300]))
        reply = await generate_json(again, self._schema, _MAX_TOKENS, self.llm, "plan")
        return _read(reply.text)

    def _checked(self, plan: SearchPlan, question: str, today: date) -> SearchPlan:
        """Return the plan with queries that can be sent, and a time range that can be right."""
        keywords = clean(plan.queries, question, today)
        notes = [
            f"left out of the queries, since the question does not speak of it: {year}"
            for year in keywords.stale_years
        ]
        queries = keywords.queries[: self.max_queries]
        if not queries:
            queries = (as_query(question),)
            notes.append("the model wrote no query that can be used; the question itself is one")
        time_range = plan.time_range
        past = [year for year in named_years(question) if year < today.year]
        if time_range and past:
            notes.append(f"left out, since the question is about {past[0]}: the last {time_range}")
            time_range = None
        return SearchPlan(True, queries, time_range, tuple(notes))


def _unplanned(question: str, reason: str) -> SearchPlan:
    note = f"the search was not planned, and the question itself is the query: {reason}"
    return SearchPlan(True, (as_query(question),), notes=(note,))


def _read(text: str) -> SearchPlan | None:
    """Return the plan that a reply states; None if it states none."""
    stated = parse_object(text) or {}
    search, queries = stated.get("needs_search"), stated.get("queries", [])
    if isinstance(queries, str):
        queries = [queries]
    if not isinstance(search, bool) or not isinstance(queries, list):
        return None
    time_range = stated.get("time_range")
    return SearchPlan(
        search,
        tuple(each for each in queries if isinstance(each, str)),
        time_range if time_range in get_args(TimeRange) else None,
    )


def _schema(mode: SearchMode, max_queries: int) -> Mapping[str, Any]:
    properties = {
        "needs_search": {"type": "boolean"} if mode == "auto" else {"enum": [True]},
        "queries": {"type": "array", "items": {"type": "string"}, "maxItems": max_queries},
        "time_range": {"enum": [*get_args(TimeRange), "any"]},
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
