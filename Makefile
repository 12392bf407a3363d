# Everything sets itself up: Python 3.11 to 3.13, pip and make are all that is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Python compiles a module when it is first imported. Compiling every module of every package here takes most of the
# minutes of an installation, and most of them are never imported.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
DEMO := cherimoya_assets/demo/yeast_atac.yaml
DEMO_HOME ?= demo_home
PORT ?= 3000
# A process more than the two cores that it is meant for: much of the suite waits for servers, daemons and killed
# processes. A module stays in one process.
PYTEST_ARGS ?= -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: install demo ui test quick check lock clean

install: $(STAMP)

# torch alone first: a CUDA build must get its exact libraries. Then the rest of the lock without dependencies: cherimoya
# and bpnet-lite would pull modisco in, which overwrites modisco-lite.
$(STAMP): requirements.lock setup.cfg pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))" || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed; set PYTHON=python3.12 for example."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --constraint requirements.lock torch
	$(PIP_INSTALL) --no-deps --requirement requirements.lock
	$(PIP_INSTALL) --no-deps --editable .
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/cherimoya-assets run $(DEMO) --home $(DEMO_HOME)

ui: $(STAMP)
	$(BIN)/cherimoya-assets ui $(DEMO) --home $(DEMO_HOME) --port $(PORT)

test: $(STAMP)
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest $(PYTEST_ARGS)

# What to run every minute: everything but what is marked as slow.
quick: $(STAMP)
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest $(PYTEST_ARGS) -m "not slow"

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: $(STAMP)
	$(BIN)/python tools/lock.py

clean:
	rm -rf $(VENV) $(DEMO_HOME) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
