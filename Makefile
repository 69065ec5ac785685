# Everything here works on a machine that has Python 3.11 or newer, pip and make. Each target installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints/cpu.txt

.PHONY: demo test lint docs-test docs-figures clean

demo: $(VENV)/.core    ## policies talk with simulated users: the benchmark table (core dependencies only)
	$(BIN)/empathy-gym demo

test: $(VENV)/.dev    ## style, types and all tests
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -q

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs-test: $(VENV)/.dev    ## every command and Python block of README and docs
	$(BIN)/python -m pytest -q tests/docs

docs-figures: $(VENV)/.dev    ## write the measured parts of README and docs afresh
	$(BIN)/python tests/docs/figures.py runs/figures

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("empathy-gym needs Python 3.11 or newer; set PYTHON=") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints/cpu.txt | $(VENV)/bin/python
	$(PIP) -e .
	touch $@

$(VENV)/.dev: pyproject.toml constraints/cpu.txt | $(VENV)/bin/python
	$(PIP) -e '.[dev]'
	touch $@ $(VENV)/.core

clean:
	rm -rf $(VENV) .venvs dist runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
