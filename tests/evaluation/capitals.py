"""A tiny data set about capitals, and replies of a model that knows them."""

from rag.core.generation import Prompt
from rag.evaluation.datasets import Query
from rag.pipelines.iter_drag import FINAL, FOLLOW_UP, INTERMEDIATE
from rag.testing import FixedRetriever

CAPITALS = {
    "France": "Paris",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Norway": "Oslo",
    "Peru": "Lima",
    "Kenya": "Nairobi",
}
QUERIES = [
    Query(country[0], f"Which city is the capital of {country} ?", (capital, f"{capital} city"))
    for country, capital in CAPITALS.items()
]
RETRIEVER = FixedRetriever(
    f"The capital of {country} is {capital} ." for country, capital in CAPITALS.items()
)


def reply(prompt: Prompt) -> str:
    """Reply with the capital, where the prompt allows it after one sub-question."""
    country = next(each for each in CAPITALS if each in prompt.question)
    if FOLLOW_UP not in prompt.system or prompt.reply_prefix.endswith((INTERMEDIATE, FINAL)):
        return CAPITALS[country]
    if FOLLOW_UP in prompt.reply_prefix:
        return f"{FINAL} {CAPITALS[country]}"
    return f"{FOLLOW_UP} Which city governs {country} ?"
