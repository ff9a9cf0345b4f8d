# make demo: set up and run the main job.  make test: set up and pass the tests.  make check: lint, types, contracts, tests without Ray.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo test check lint sim chaos clean

help:
	@echo "make demo   set everything up and run two teams' pipelines on an embedded Ray cluster"
	@echo "make test   set everything up and run all tests"
	@echo "make check  ruff, mypy, import contracts and the tests without Ray"
	@echo "make sim    play schedules of faults against the control plane on virtual time (SEEDS=10000 FIRST=0, some minutes)"
	@echo "make chaos  kill what can be killed on real Ray under load, and judge the log (KILLS=100 SEED=1, 15-40 minutes)"
	@echo "make clean  remove what the build made (not .venv)"

setup: $(STAMP)

# torch comes first and by itself: what else needs it is then content with the build that is there.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "AIOS needs Python 3.11 or newer: set PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: setup
	$(BIN)/python -m examples.demo

test: setup check
	$(BIN)/python -m pytest -m ray tests/ray

check: setup lint
	$(BIN)/python -m pytest -n 2 -m "not ray" --ignore=tests/ray tests

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

SEEDS ?= 10000
FIRST ?= 0
sim: setup
	$(BIN)/python -m tests.sim --seeds $(SEEDS) --first $(FIRST) --jobs 2

KILLS ?= 100
SEED ?= 1
chaos: setup
	$(BIN)/python -m tests.chaos --kills $(KILLS) --worker-kills 25 --submissions 10000 --seed $(SEED)

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
