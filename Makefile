# Everything that a fresh clone needs: Python 3.11 or newer, and make.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# A process a core, each test file in one of them: what compiles runs on one core anyway. The order
# of the files is conftest.py's.
PYTEST = $(BIN)/python -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder

.PHONY: quickstart test test-matrix test-newest quick lint types house clean

quickstart: $(VENV)/quickstart.done
	$(BIN)/jaxft train --config=configs/quickstart.py --workdir=runs/quickstart

# Lint, types and all tests.
test: lint types
	$(PYTEST)

# The subset on every Python that is promised and here, in venvs of their own; on the oldest with the
# oldest dependencies that are promised, on the others with the newest that there are.
test-matrix:
	.ci/matrix 3.11:lowest 3.12 3.13

# The newest end of what is promised: the subset, and a wheel that trains the quickstart.
test-newest:
	.ci/matrix 3.13
	.ci/wheel 3.13

# The subset of the tests that takes under two minutes.
quick: $(VENV)/dev.done
	$(PYTEST) -m "not slow"

lint: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.done
	$(BIN)/mypy

# Figures of the code's order: sizes, imports between folders, docstrings; red where one is out of bounds.
house: $(VENV)/bin/python
	$(BIN)/python tests/house.py

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("jaxft needs Python 3.11 or newer") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/quickstart.done: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[quickstart]'
	touch $@

$(VENV)/dev.done: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/quickstart.done

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
