# `make demo` and `make test` each do all the set-up on a fresh machine: Python 3.10+, a C compiler, make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
# Tests run in as many processes as there are processors.
PYTEST := $(BIN)/pytest -n auto --dist worksteal

.PHONY: demo test test-full lint clean

demo: $(READY)
	$(BIN)/python examples/notebook/demo.py

test: $(READY)
	$(PYTEST) -m "not full"

test-full: $(READY)
	$(PYTEST) -m full

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) dist build .hypothesis .mypy_cache .pytest_cache .ruff_cache

# torch comes first, as pinned: asked for by another package, pip would take whatever is newest.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)
