"""The compute-allocation model: what was measured, what is predicted, what to use for a budget."""

from rag.allocation.active import next_cells
from rag.allocation.cells import CellTable
from rag.allocation.escalation import Escalation, fit_escalation, replay
from rag.allocation.fitted import FittedAllocation
from rag.allocation.grid import parse_grid
from rag.allocation.grid_search import GridSearch
from rag.allocation.model import AllocationModel
from rag.allocation.observations import (
    Cell,
    Observation,
    read_observations,
    write_observations,
)
from rag.allocation.planning import Plan, plan
from rag.allocation.predictions import Prediction, Predictor
from rag.allocation.published import PublishedModel
from rag.allocation.store import ObservationStore
from rag.allocation.tokens import TokenModel

__all__ = [
    "AllocationModel",
    "Cell",
    "CellTable",
    "Escalation",
    "FittedAllocation",
    "GridSearch",
    "Observation",
    "ObservationStore",
    "Plan",
    "Prediction",
    "Predictor",
    "PublishedModel",
    "TokenModel",
    "fit_escalation",
    "next_cells",
    "parse_grid",
    "plan",
    "read_observations",
    "replay",
    "write_observations",
]
