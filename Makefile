# headworks: `make demo` shows it, `make test` proves it, `make help` lists the rest.
SHELL := /bin/bash
VENV ?= .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PYTHON ?= python3

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | sort | awk 'BEGIN {FS = ":.*?## "}; {printf "  make %-12s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

.PHONY: setup
setup: $(STAMP) ## Create the virtual environment and install everything into it

.PHONY: demo
demo: setup ## Run the whole suite once on a real job: a census of the standard library
	@$(VENV)/bin/headworks demo

.PHONY: up
up: setup ## Start limiter, scheduler and workers with embedded backends, and stay
	@$(VENV)/bin/headworks up

.PHONY: test
test: setup ## Run all tests against real Valkey and Apache Kafka
	$(VENV)/bin/pytest $(ARGS)

.PHONY: test-unit
test-unit: setup ## Run the tests that need no server
	$(VENV)/bin/pytest tests/unit $(ARGS)

.PHONY: bench
bench: setup ## Measure; prints a table and writes build/bench.json
	$(PY) -m tests.bench $(ARGS)

.PHONY: bench-peers
bench-peers: setup ## Measure what people use today on the same machine; writes build/bench-peers.json
	$(PY) -m tests.bench.peers $(ARGS)

.PHONY: pictures
pictures: setup ## Draw the pictures of docs/limiter/algorithms.md anew
	$(PY) -m tests.support.limiter_pictures

.PHONY: soak
soak: setup ## Load for ten minutes: does memory stay level?
	$(PY) -m tests.soak $(ARGS)

.PHONY: chaos
chaos: setup ## Faults by seed on real processes, judged from outside; ARGS="--minutes 60 --seed 7"
	$(PY) -m tests.chaos $(ARGS)

.PHONY: lint
lint: setup ## Style, types, boundaries, protos, generated code
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/buf lint
	$(VENV)/bin/buf format --diff --exit-code
	@$(MAKE) --no-print-directory protos OUT=build/gen >/dev/null
	diff -r -x __pycache__ build/gen/headworks libs/gen/headworks

.PHONY: format
format: setup ## Format Python and protos
	$(VENV)/bin/ruff check --fix --quiet . ; $(VENV)/bin/ruff format .
	$(VENV)/bin/buf format -w

OUT ?= libs/gen
.PHONY: protos
protos: setup ## Generate libs/gen from protos/
	rm -rf $(OUT)/headworks && mkdir -p $(OUT)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m grpc_tools.protoc -I protos --python_out=$(OUT) --pyi_out=$(OUT) $$(find protos -name '*.proto' | sort)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m grpc_tools.protoc -I protos --grpc_python_out=$(OUT) --mypy_grpc_out=$(OUT) $$(find protos -name '*_service.proto' | sort)
	find $(OUT)/headworks -type d -exec touch {}/__init__.py \; && touch $(OUT)/headworks/py.typed

.PHONY: clean
clean: ## Remove what the targets made
	rm -rf build dist $(VENV) .mypy_cache .ruff_cache .hypothesis
