"""A pipeline of your own: ask the model for a second query, search for both, read.

A program awaits operations and knows no model and no index, so the engine can batch it with
others, meter it and hold it to a budget, and a test can drive it without either.
"""

from rag import Answer, Prompt, Sampling
from rag.core import Generate, Search, Where, load_template, together
from rag.pipelines import Pipeline
from rag.pipelines.citations import cite


class SecondQuery(Pipeline):
    """Searches for the question and for a rewording of it, at the same time."""

    async def program(self, question: str, where: Where | None = None) -> Answer:
        reworded = await Generate(
            Prompt(f"Say this as a search query of a few words: {question}"),
            Sampling(max_tokens=20, stop=("\n",)),
            stage="reword",
        )
        found = await together(Search(question, 3, where), Search(reworded.text, 3, where))
        hits = list({hit.passage.id: hit for hits in found for hit in hits}.values())
        reply = await Generate(load_template("read").render(question, hits), stage="read")
        cited = cite(reply.text, question, hits)
        return Answer(
            cited.text, cited.citations, supported=bool(cited.citations), hits=tuple(hits)
        )
