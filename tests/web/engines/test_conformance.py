from collections.abc import Sequence

import pytest

from rag.core.protocols import SearchEngine
from rag.core.web import WebResult
from rag.testing.search_engine_conformance import SearchEngineConformance
from tests.web.engines.conftest import Open
from tests.web.engines.servers import APIS, Reply


@pytest.mark.parametrize("name", APIS)
class TestHTTPEngines(SearchEngineConformance):
    @pytest.fixture(autouse=True)
    def _opening(self, name: str, shared: Open) -> None:
        self.name, self.shared = name, shared

    def make_engine(self, pages: Sequence[WebResult]) -> SearchEngine:
        engine: SearchEngine = self.shared(self.name, tuple(pages), price=0.005)[1]
        return engine

    def make_failing_engine(self) -> SearchEngine:
        server, engine = self.shared(self.name, max_attempts=1)
        server.script = [Reply(403), Reply(403)]
        failing: SearchEngine = engine
        return failing
