# Every check has one definition, here; whatever runs checks calls these targets.
# Needs Python 3.11 or later and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes that run tests side by side. Most tests wait: two of them take little more than half the time.
TESTERS ?= 2
INSTALLED := $(VENV)/.installed
# docker-compose is the older command, `docker compose` the newer; the file works with both.
COMPOSE = $(if $(shell command -v docker-compose),docker-compose,docker compose) -p allocation -f docker-compose.kafka.yml

.DEFAULT_GOAL := help
.PHONY: help install lock demo test test-all test-long chaos soak test-containers bench lint format \
        coverage compose-up compose-down compose-clean compose-test clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## Make .venv with the locked dependencies and the command .venv/bin/allocation

$(INSTALLED): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; name one with PYTHON=…")'
	@echo "Installing into $(VENV) (about a minute the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

lock:  ## Compile the lock files anew (needs uv)
	uv pip compile --quiet --no-strip-extras --universal --python-version 3.11.2 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" pyproject.toml --output-file requirements.lock
	uv pip compile --quiet --no-strip-extras --universal --python-version 3.11.2 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" --extra dev pyproject.toml --output-file requirements-dev.lock
	echo hatchling | uv pip compile --quiet --no-strip-extras --universal --python-version 3.11.2 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" --constraint requirements-dev.lock - --output-file requirements-build.lock

demo: install  ## Tell the story on a stack of its own: real Kafka, PostgreSQL, Redis, 10,000 real order lines
	@$(BIN)/allocation demo

test: install  ## Run the tests; starts the services that they need, a set for each of TESTERS=2 processes
	$(BIN)/python -m pytest --numprocesses $(TESTERS) --dist loadfile

test-all: lint test chaos test-long  ## Everything that needs no Docker engine

# A seed of one's own makes the same commands and the same choices again; without it chance has its way, and says so.
SEEDED = $(if $(SEED),--seed $(SEED))
MATRIX ?= chaos.md
MINUTES ?= 10

chaos: install  ## The kill matrix, twenty to thirty minutes (SEED=7 MATRIX=chaos.md)
	$(BIN)/python -m pytest -q tests/chaos --long --matrix $(MATRIX) $(SEEDED) --ignore tests/chaos/test_soak.py

soak: install  ## Kill, halt and awaken parts as chance has it (MINUTES=10 SEED=7)
	$(BIN)/python -m pytest -q tests/chaos/test_soak.py --long --minutes $(MINUTES) $(SEEDED)

test-long: install  ## Floods and fuzz with ten times as much as in `make test`, a long rebuild, the run-book
	$(BIN)/python -m pytest tests/e2e tests/fuzz tests/runbook --long

test-containers: install  ## The tests of the adapters on testcontainers (needs a Docker engine)
	$(BIN)/python -m pytest --stack=containers tests/integration \
	  --ignore-glob='*/test_devstack*.py' --ignore=tests/integration/test_stack_commands.py

bench: install  ## Measure on a stack of its own, half an hour; BENCH="--scenario A --rounds 1" for less
	$(BIN)/python -m tests.bench --json bench.json --plot bench.svg $(BENCH)

compose-up:  ## Build the image, start the whole system in containers, wait until it is healthy
	$(COMPOSE) up --detach --build
	@id=$$($(COMPOSE) ps -q api); \
	for second in $$(seq 180); do \
	  [ "$$(docker inspect --format '{{.State.Health.Status}}' "$$id")" != healthy ] || exit 0; sleep 1; \
	done; echo "The API is not healthy; see: $(COMPOSE) logs api" >&2; exit 1

compose-down:  ## Stop that system; its data stay in volumes
	$(COMPOSE) down --remove-orphans

compose-clean:  ## Stop that system and delete its data
	$(COMPOSE) down --remove-orphans --volumes

compose-test: install compose-up  ## Tell the story to that system from outside, and kill its parts
	$(BIN)/python -m pytest -m containers tests/containers

coverage: install  ## Branch coverage of domain and service layer by their own tests
	$(BIN)/python -m pytest tests/unit tests/contract --cov --cov-report=term-missing

lint: install  ## Ruff, mypy, the layers, and the schemas against what was released
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/allocation schemas check

format: install  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## Remove what was made here, the environment included
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage dist \
	  chaos.md bench.json bench.svg
