# `make help` lists the targets. Another interpreter or place:
#     make quickstart PYTHON=python3.12 VENV=/tmp/leuko
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# Processes that share the tests of `make test`; 0 runs them in pytest's own.
WORKERS ?= auto
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# The site is built in an environment of its own, which needs no PyTorch.
DOCS_VENV ?= .venv-docs

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-all test-faults lint docs configs results clean .venv

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: $(STAMP) ## from nothing to a trained network, its table and its pictures
	@echo "2/3 training on drawn smears; 3/3, test and pictures, follows by itself"
	$(PY) tools/train.py configs/quickstart.py --work-dir work_dirs/quickstart --force
	@test ! -f $${LEUKO_MM_DATA:-data}/bcisc/dataset.json || { \
	  echo; echo "The same model on real cells that it has never seen (BCISC):"; \
	  $(PY) tools/test.py configs/quickstart.py work_dirs/quickstart/quickstart.pth \
	    --data bcisc --split all --work-dir work_dirs/quickstart/bcisc --force; }

test: $(STAMP) ## the test suite without the slow tests; ARGS="-k cbam" picks some, WORKERS=0 takes one process
	OMP_NUM_THREADS=1 $(PY) -m pytest -m "not slow" \
	  -n $(WORKERS) --maxprocesses 4 --dist worksteal $(ARGS)

test-all: $(STAMP) ## every test; LEUKO_MM_SHARED names the real images and weights
	$(PY) -m pytest $(ARGS)

test-faults: $(STAMP) ## 20,000 fuzzed inputs, hostile files, lost disks, data and processes, 50 kills; with counts
	LEUKO_MM_FUZZ=$${LEUKO_MM_FUZZ:-20000} $(PY) -m pytest -s -q tests/test_fuzz.py \
	  tests/test_hostile_checkpoint.py tests/engine/test_checkpoints.py \
	  tests/test_training_faults.py \
	  tests/test_two_processes_killed.py tests/test_training_killed.py $(ARGS)

lint: $(STAMP) ## style, imports, docstrings, formatting and the links of the pages
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) tools/docs_links.py

docs: $(DOCS_VENV)/.installed ## the documentation as a site, in site/; open site/index.html
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/python -m mkdocs build --strict --quiet

# ruff formats the signatures.
$(DOCS_VENV)/.installed: requirements/docs.txt requirements/dev.txt
	@$(DOCS_VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -r requirements/docs.txt -r requirements/dev.txt
	@touch $@

configs: $(STAMP) ## load and check every config
	$(PY) -m pytest tests/test_configs.py tests/test_ablations.py tests/test_methods.py $(ARGS)

results: $(STAMP) ## results/report.html and report/, every table and plot, from the results alone
	$(PY) -m leuko_mm.cli.main compare --report --out results

.venv: $(STAMP) ## the environment with the exact versions of requirements/lock.txt

$(STAMP): requirements/lock.txt setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "leuko_mm needs Python 3.10 or newer, and PYTHON=$(PYTHON) is not that;" \
	    "name one that is: make PYTHON=python3.11 ..." >&2; exit 2; }
	@echo "1/3 installing the packages of requirements/lock.txt into $(VENV)"
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --disable-pip-version-check -r requirements/lock.txt
	$(PY) -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

clean: ## remove what was built; .venv, data and work_dirs stay
	rm -rf build dist site *.egg-info .ruff_cache .pytest_cache
	find leuko_mm configs tests tools -name __pycache__ -prune -exec rm -rf {} +
