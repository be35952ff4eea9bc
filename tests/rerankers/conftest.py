from tests.models.conftest import make_model, tiny
from tests.models.http.conftest import llama_cpp

__all__ = ["llama_cpp", "make_model", "tiny"]
