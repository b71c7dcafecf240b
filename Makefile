# Everything that a fresh clone needs: Python 3.11 or newer, and make.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# A process a core, each test file in one of them: what compiles runs on one core anyway. The order
# of the files is conftest.py's.
PYTEST = $(BIN)/python -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder

.PHONY: help quickstart test test-matrix test-newest quick lint format types house docs clean

help: ## print these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
	  while IFS='|' read -r name what; do printf '  make %-12s %s\n' "$$name" "$$what"; done

quickstart: $(VENV)/quickstart.done ## train on handwritten digits: minutes on two cores
	$(BIN)/jaxft train --config=configs/quickstart.py --workdir=runs/quickstart

test: lint types docs ## linter, type checker, docs and all tests: 12 to 30 minutes on two cores
	$(PYTEST)

quick: $(VENV)/dev.done ## the tests of under two minutes
	$(PYTEST) -m "not slow"

# On the oldest Python with the oldest dependencies that are promised, on the others with the newest.
test-matrix: ## the quick tests on every Python that is promised and here
	.ci/matrix 3.11:lowest 3.12 3.13

test-newest: ## the quick tests on the newest Python, and a wheel that trains the quickstart
	.ci/matrix 3.13
	.ci/wheel 3.13

lint: $(VENV)/dev.done ## find what the linter or the formatter would change
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/dev.done ## change it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/dev.done ## check types
	$(BIN)/mypy

house: $(VENV)/bin/python ## figures of the code's order; red where one is out of bounds
	$(BIN)/python tests/support/house.py

docs: $(VENV)/docs.done ## build the documentation into site/; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

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

$(VENV)/docs.done: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

clean: ## remove what was made, .venv too
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache
