# make quickstart   the main job: environment, the quickstart notebook from beginning to end, what came out
# make test         everything that CI runs
# make lab          the same notebooks in JupyterLab
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PYTEST_WORKERS ?= 3

.PHONY: help env test-env widget labextension quickstart lab lint types test-python test-notebooks test-typescript test bench system clean

help:
	@sed -n 's/^# //p' $(firstword $(MAKEFILE_LIST))

# An environment is made anew when what it is made from changes.
$(VENV)/.made: pyproject.toml scripts/make-env
	scripts/make-env $(VENV) lab,examples,serve
	touch $@

$(VENV)/.made-test: pyproject.toml scripts/make-env
	scripts/make-env $(VENV) test
	touch $(VENV)/.made $@

env: $(VENV)/.made
test-env: $(VENV)/.made-test

system:
	scripts/install-system-packages

# Both do nothing when nothing has changed.
widget: env
	scripts/build-frontend $(VENV) widget

labextension: env
	scripts/build-frontend $(VENV) labextension

quickstart: env
	scripts/build-frontend $(VENV) widget --if-possible
	$(BIN)/python scripts/quickstart.py

lab: env
	scripts/build-frontend $(VENV) labextension --if-possible
	scripts/build-frontend $(VENV) widget --if-possible
	$(BIN)/jupyter lab --notebook-dir notebooks

lint: test-env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: test-env
	$(BIN)/mypy

test-python: test-env widget labextension
	$(BIN)/pytest -n $(PYTEST_WORKERS) --dist worksteal

test-notebooks: test-env
	$(BIN)/pytest --nbval-lax --nbval-cell-timeout=300 --timeout=600 notebooks

test-typescript: test-env labextension widget
	cd labextension && { [ -d node_modules/typescript ] || npm ci --silent --no-audit --no-fund; } && npm run --silent check && npm test --silent

test: system lint types test-typescript test-python test-notebooks

bench: test-env widget
	$(BIN)/python -m benchmarks --write

clean:
	rm -rf $(VENV) kfp_magics/widgets/static kfp_magics/_labextension labextension/node_modules build dist
