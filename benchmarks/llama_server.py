"""Run as a program: llama.cpp's own HTTP server, until its input is closed.

python benchmarks/llama_server.py MODEL.gguf WINDOW THREADS
"""

import sys

import xllamacpp


def main() -> None:
    """Serve on a free port of this machine, one request at a time, and print the address."""
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.n_ctx = int(sys.argv[2])
    params.cpuparams.n_threads = int(sys.argv[3])
    params.n_parallel = 1
    params.port = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
