# make demo: train two methods on real images and compare; make test: linters, types and every test but the slow ones, which are
# make slow, and those of make faults, which kills, interrupts and damages runs; make test-oldest: some tests on the oldest
# supported versions of the other libraries, in .venv-oldest; make bench: the benchmarks in short, make bench-gpu: those for a CUDA
# device; make docs: the pages that are made from the package; make site: the site of all pages, in build/site, warnings as errors.
# The others make .venv first.
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	if $$p -c "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))" 2>/dev/null; then echo $$p; break; fi; done)
ENV := .venv
BIN := $(ENV)/bin
STAMP := $(ENV)/.installed
OLDEST := .venv-oldest
OLDEST_STAMP := $(OLDEST)/.installed
DEV_STAMP := $(ENV)/.installed-dev
DEMO := runs/demo
KILLS := 20
WORKERS := 2
# what runs on the oldest supported versions, too: what noisylab takes of the other libraries, and a few methods from end to end
OLDEST_METHODS := act dividemix ieg
OLDEST_TESTS := tests/upstream tests/test_safe_loading.py tests/cli/test_config.py tests/cli/test_commands.py \
	$(foreach method,$(OLDEST_METHODS),\
	"tests/engine/test_exact_resume.py::test_resume_after_every_batch_equals_the_straight_run[$(method)]" \
	"tests/matrix/test_methods.py::test_three_epochs_teach_easy_classes[$(method)]" \
	"tests/matrix/test_methods.py::test_the_checkpoint_alone_rebuilds_the_method[$(method)]")
SOURCES := $(shell find noisylab -name '*.py')

.PHONY: demo test test-oldest slow faults lint docs site bench bench-gpu clean

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

$(OLDEST)/bin/python:
	@test -n "$(PYTHON)" || { echo "noisylab needs Python 3.11 or 3.12 with venv; install one, or call: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(OLDEST)

$(OLDEST_STAMP): pyproject.toml constraints-oldest.txt | $(OLDEST)/bin/python
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-oldest.txt \
		-e ".[wandb,tensorboard,views,features,sweep,slurm]" pytest scipy
	@touch $@

test-oldest: $(OLDEST_STAMP)
	$(OLDEST)/bin/python -m pytest -m "not slow" $(OLDEST_TESTS)

slow: $(DEV_STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --ignore=tests/faults -m slow

faults: $(DEV_STAMP)
	NOISYLAB_KILLS=$(KILLS) $(BIN)/python -m pytest -n $(WORKERS) tests/faults

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
	rm -rf $(ENV) $(OLDEST) build dist .pytest_cache .mypy_cache .ruff_cache
