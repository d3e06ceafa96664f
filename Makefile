# The verbs of this project. Every target sets up what it needs; ARGS goes through to Hydra.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
PORT ?= 5000
SHELL := /bin/sh
# Doors and DVC's stage commands find this environment's python and dvc first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
.DEFAULT_GOAL := help
.PHONY: help setup lock sweep repro status ui report predict serve test test-slow lint bench clean

help:  ## this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  e.g. make sweep ARGS="model=linear budget.trials=200"'

setup: .venv/.ready  ## make .venv and install the locked versions (again only when the lock changed)

.venv/.ready: requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@$(BIN)/python -m trimtab.population.compiled.beforehand
	@touch $@

lock:  ## write requirements.lock anew from pyproject.toml (the only way it is made)
	$(BIN)/pip-compile --quiet --upgrade --strip-extras --extra all --extra dev --no-header \
		--no-emit-index-url --no-emit-find-links --no-emit-options --output-file requirements.lock pyproject.toml
	@sed -i.bak 's/+cpu//' requirements.lock && rm requirements.lock.bak  # torch's local build tag

sweep: setup  ## prepare the data and run the study that params.yaml names (again: resumes)
	@python -m trimtab.stages.prepare $(ARGS) && python -m trimtab.stages.sweep $(ARGS)

repro: setup  ## the whole pipeline: prepare, sweep, select, evaluate (opens the test set), report
	@dvc repro

status: setup  ## how the latest study stands, also while it runs; ARGS=DIR for another
	@python -m trimtab.tools.status $(ARGS)

ui: setup  ## compare runs in MLflow on http://127.0.0.1:$(PORT)
	@python -m trimtab.tools.ui --port $(PORT)

report: setup  ## write results/report/report.html from what is there
	@python -m trimtab.stages.report $(ARGS)

predict: setup  ## FILE=new.csv: predictions of the champion for new rows; ARGS="data=csv data.path=my.csv" of another data set's
	@python -m trimtab.tools.predict $(FILE) $(ARGS)

serve: setup  ## answer raw rows over HTTP with the champion, PORT=5000; ARGS likewise
	@python -m trimtab.tools.serve --port $(PORT) $(ARGS)

test: setup  ## the quick tests (minutes)
	@python -m pytest -n 2 $(ARGS)

test-slow: setup  ## the slow tests: kills, servers, whole pipelines
	@python -m pytest -m slow $(ARGS)

lint: setup  ## format, lint, types
	@ruff format --check . && ruff check . && mypy

bench: setup  ## the figures of LOG.md, as ratios
	@python -m benchmarks $(ARGS)

clean:  ## remove results and caches; studies in runs/ stay (remove those by hand)
	rm -rf results .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
