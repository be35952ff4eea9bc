"""Programs that answer questions: retrieve, then read or reason."""

from rag.pipelines.allocate import allocate
from rag.pipelines.base import Pipeline, metered
from rag.pipelines.conversation import Conversation, Turn
from rag.pipelines.drag import DRAG
from rag.pipelines.escalate import Escalate
from rag.pipelines.example_pool import ExamplePool
from rag.pipelines.extractive import ExtractiveRead
from rag.pipelines.extractor import Extraction, Extractor
from rag.pipelines.few_shot_web import FewShotWeb
from rag.pipelines.ircot import IRCoT
from rag.pipelines.iter_drag import IterDRAG
from rag.pipelines.iter_retgen import IterRetGen
from rag.pipelines.permissive import PermissivePipeline
from rag.pipelines.read import RetrieveAndRead
from rag.pipelines.search_and_read import SearchAndRead
from rag.pipelines.search_planner import SearchPlan, SearchPlanner
from rag.pipelines.self_ask import SelfAsk
from rag.pipelines.strategies import make_pipeline

__all__ = [
    "DRAG",
    "Conversation",
    "Escalate",
    "ExamplePool",
    "Extraction",
    "ExtractiveRead",
    "Extractor",
    "FewShotWeb",
    "IRCoT",
    "IterDRAG",
    "IterRetGen",
    "PermissivePipeline",
    "Pipeline",
    "RetrieveAndRead",
    "SearchAndRead",
    "SearchPlan",
    "SearchPlanner",
    "SelfAsk",
    "Turn",
    "allocate",
    "make_pipeline",
    "metered",
]
