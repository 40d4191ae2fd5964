# make demo: train two methods on real images and compare; make test: linters, types and every test but the slow ones, which are
# make slow, and those of make faults, which kills, interrupts and damages runs; make bench: the benchmarks in short, make bench-gpu: those for a CUDA device;
# make docs: the pages that are made from the package; make site: the site of all pages, in build/site, warnings as errors.
# All make .venv first.
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	if $$p -c "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))" 2>/dev/null; then echo $$p; break; fi; done)
ENV := .venv
BIN := $(ENV)/bin
STAMP := $(ENV)/.installed
DEV_STAMP := $(ENV)/.installed-dev
DEMO := runs/demo
KILLS := 20
WORKERS := 2
SOURCES := $(shell find noisylab -name '*.py')

.PHONY: demo test slow faults lint docs site bench bench-gpu clean

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "noisylab needs Python 3.11 or 3.12 with venv; install one, or call: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(ENV)

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(DEV_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $(STAMP) $@

$(DEMO)/%/summary.json: configs/%.yaml configs/digits.yaml $(SOURCES) | $(STAMP)
	@$(BIN)/noisylab fit --config configs/$*.yaml --run_dir $(DEMO)/$* --overwrite

demo: $(DEMO)/ce_digits/summary.json $(DEMO)/act_digits/summary.json
	@$(BIN)/noisylab compare $(DEMO)/ce_digits $(DEMO)/act_digits --out $(DEMO)/curves.png --overwrite

test: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=benchmarks:docs $(BIN)/mypy benchmarks/*.py docs/method_pages.py
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --ignore=tests/faults -m "not slow"

slow: $(DEV_STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --ignore=tests/faults -m slow

faults: $(DEV_STAMP)
	NOISYLAB_KILLS=$(KILLS) $(BIN)/python -m pytest tests/faults

lint: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=benchmarks:docs $(BIN)/mypy benchmarks/*.py docs/method_pages.py

docs: $(DEV_STAMP)
	$(BIN)/python docs/make_pages.py

site: $(DEV_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(DEV_STAMP)
	for name in floor methods views loop epoch scaling loaders checkpoints mixture meta signals; do \
		OMP_NUM_THREADS=1 $(BIN)/python benchmarks/$$name.py --short --device cpu --out runs/benchmarks/$$name-short.json || exit 1; \
	done

bench-gpu: $(DEV_STAMP)
	$(BIN)/python benchmarks/floor.py --device cuda --out runs/benchmarks/floor-gpu.json
	$(BIN)/python benchmarks/epoch.py --device cuda --compile --cuda_graphs --out runs/benchmarks/epoch-gpu.json
	$(BIN)/python benchmarks/loop.py --device cuda --groups act ce bf16 --compile --cuda_graphs --out runs/benchmarks/loop-gpu.json
	$(BIN)/python benchmarks/loop.py --device cuda --groups act ce --precision bf16-mixed --channels_last --compile --cuda_graphs \
		--out runs/benchmarks/loop-gpu-bf16.json

clean:
	rm -rf $(ENV) build dist .pytest_cache .mypy_cache .ruff_cache
