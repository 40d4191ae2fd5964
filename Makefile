# make demo: train two methods on real images and compare; make test: run every test. Both make .venv first.
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	if $$p -c "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))" 2>/dev/null; then echo $$p; break; fi; done)
ENV := .venv
BIN := $(ENV)/bin
STAMP := $(ENV)/.installed
DEV_STAMP := $(ENV)/.installed-dev
DEMO := runs/demo
SOURCES := $(shell find noisylab -name '*.py')

.PHONY: demo test lint docs bench clean

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "noisylab needs Python 3.11 or 3.12 with venv; install one, or call: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(ENV)

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(DEV_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $(STAMP) $@

$(DEMO)/%/summary.json: configs/%.yaml $(SOURCES) | $(STAMP)
	@$(BIN)/noisylab fit --config configs/$*.yaml --run_dir $(DEMO)/$* --overwrite

demo: $(DEMO)/ce_digits/summary.json $(DEMO)/act_digits/summary.json
	@$(BIN)/noisylab compare $(DEMO)/ce_digits $(DEMO)/act_digits --out $(DEMO)/curves.png

test: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

lint: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(DEV_STAMP)
	$(BIN)/python docs/make_pages.py

bench: $(DEV_STAMP)
	$(BIN)/python benchmarks/methods.py

clean:
	rm -rf $(ENV) build dist .pytest_cache .mypy_cache .ruff_cache
