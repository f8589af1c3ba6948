# Reverie: `make help` lists what there is. Works with GNU make 3.81 or newer and plain Python.

SHELL := /bin/sh
.DEFAULT_GOAL := help

# PYTHON=… names another interpreter; else the first of these that is new enough.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; \
	done)
HOST ?=
PORT ?=
CONFIG ?= training/configs/mnist-dcgan.toml training/configs/mnist-rbm.toml
TRAIN ?=
BENCH ?=
BENCHMARKS = $(filter-out __init__ harness,$(basename $(notdir $(wildcard benchmarks/*.py))))
COVERAGE ?= 90

# Where the development environment is, serving uses it too; on a machine with an NVIDIA driver,
# serving has an environment of its own, since onnxruntime and onnxruntime-gpu cannot share one.
GPU := $(shell nvidia-smi -L >/dev/null 2>&1 && echo yes)
RUNTIME := $(if $(GPU),gpu,cpu)
SERVE := $(if $(GPU),.venv-serve,$(if $(wildcard .venv/bin/reverie),.venv,.venv-serve))
SERVE_STAMP := $(if $(filter .venv,$(SERVE)),,.venv-serve/.installed-$(RUNTIME))
PIP = bin/pip --disable-pip-version-check install

# WHEELS=folder installs from there and from nowhere else, beside what PYTHON has already.
WHEELS ?=
GPU_STAMP = .venv-gpu/$(if $(WHEELS),.wheels,.installed)
GPU_PYTHON = $(if $(WHEELS),PYTHONPATH=.venv-gpu/packages "$(PYTHON)",.venv-gpu/bin/python)
GPU_NEEDS = pytest pytest-asyncio pytest-timeout hypothesis beartype \
	$(shell sed -n '/^onnxruntime-gpu==/p' constraints-gpu.txt)

# REVERIE_CHAOS_KILLS kills in a row; takes minutes.
KILLS ?= 1000

.PHONY: help install serve test check chaos bench train fmt docs pictures lock clean

help: ## List these targets.
	@echo "Reverie: trained generators behind a REST service. Start with: make serve"
	@echo
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1 \2/p' Makefile | \
		while read -r target sentence; do printf '  make %-9s %s\n' "$$target" "$$sentence"; done

install: .venv/.installed ## Make .venv with everything for development and training (torch too).

serve: $(SERVE_STAMP) ## Serve models_store on 127.0.0.1:8000 (HOST=…, PORT=…); installs what that needs.
	@$(if $(HOST),REVERIE_HOST='$(HOST)') $(if $(PORT),REVERIE_PORT='$(PORT)') exec $(SERVE)/bin/reverie serve

test: .venv/.installed ## Run every check and every test, with branch coverage of the service.
	@$(MAKE) --no-print-directory lint
	.venv/bin/pytest --cov=service --cov-branch --cov-report=term --cov-fail-under=$(COVERAGE)

check: .venv/.installed ## Run the fast checks: format, lint, types, imports, and tests that take seconds.
	@$(MAKE) --no-print-directory lint
	.venv/bin/pytest -m 'not slow and not statistical'

chaos: .venv/.installed ## Kill the service at random moments, a thousand times (KILLS=n): no order may suffer.
	REVERIE_CHAOS_KILLS=$(KILLS) .venv/bin/pytest -s tests/chaos

.PHONY: lint
lint: .venv/.installed
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: .venv/.installed ## Run the benchmarks; each prints one table (BENCH=name for one of them).
	@for name in $(or $(BENCH),$(BENCHMARKS)); do .venv/bin/python -m benchmarks.$$name || exit; done

.PHONY: gpu
gpu: $(GPU_STAMP) ## Check and measure everything on a GPU (WHEELS=folder where there is no registry).
	REVERIE_GPU_REQUIRED=1 $(GPU_PYTHON) -m pytest -m gpu tests/gpu
	$(GPU_PYTHON) -m benchmarks.gpu

train: .venv/.installed ## Train and export the published models (CONFIG=one.toml for one, TRAIN=--smoke to try).
	@for config in $(CONFIG); do .venv/bin/reverie train "$$config" $(TRAIN) || exit; done

fmt: .venv/.installed ## Format the code and mend what the linter can mend.
	.venv/bin/ruff format
	.venv/bin/ruff check --fix

docs: .venv/.installed ## Write the generated tables of README and docs anew.
	.venv/bin/python docs/tables.py

pictures: .venv/.installed ## Make the README's pictures anew from the published models.
	.venv/bin/python docs/pictures.py

lock: .venv/.installed ## Write constraints.txt and constraints-gpu.txt anew from .venv.
	.venv/bin/python deploy/lock.py

clean: ## Remove the environments and every cache; models, runs and data stay.
	rm -rf .venv .venv-serve .venv-gpu .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache \
		.import_linter_cache dist
	find service training tests benchmarks deploy docs -name __pycache__ -prune -exec rm -rf {} + \
		2>/dev/null || true

# The stamps make a second call quick: they are remade only when a requirement has changed.
.venv/.installed: pyproject.toml constraints.txt
	$(require-python)
	@[ -x .venv/bin/python ] || "$(PYTHON)" -m venv .venv
	.venv/$(PIP) --constraint constraints.txt --editable '.[dev]'
	@touch $@

# --no-compile: Python compiles what it imports anyway, and the first start comes sooner.
.venv-serve/.installed-%: pyproject.toml constraints.txt constraints-gpu.txt
	$(require-python)
	@echo "Installing what serving needs into .venv-serve ($*); this happens once."
	@rm -rf .venv-serve && "$(PYTHON)" -m venv .venv-serve
	@.venv-serve/$(PIP) --quiet --no-compile --constraint constraints.txt \
		--constraint constraints-gpu.txt --editable '.[$*,report]'
	@touch $@

# onnxruntime-gpu and torch settle on one set of CUDA's libraries: no constraints-gpu.txt here.
.venv-gpu/.installed: pyproject.toml constraints.txt constraints-gpu.txt
	$(require-python)
	@rm -rf .venv-gpu && "$(PYTHON)" -m venv .venv-gpu
	.venv-gpu/$(PIP) --constraint constraints.txt --editable '.[gpu,train]' $(GPU_NEEDS)
	@touch $@

.venv-gpu/.wheels: $(wildcard $(WHEELS)/*.whl)
	$(require-python)
	@[ -n "$^" ] || { echo "WHEELS=$(WHEELS) holds no wheels (*.whl)." >&2; exit 1; }
	@rm -rf .venv-gpu && mkdir .venv-gpu
	"$(PYTHON)" -m pip --disable-pip-version-check install --no-index --no-deps --no-compile \
		--target .venv-gpu/packages $^
	@touch $@

define require-python
	@[ -n "$(PYTHON)" ] || { \
		echo "Reverie needs Python 3.11 or newer, and found: $$(python3 --version 2>&1 || echo none)." >&2; \
		echo "Install it, or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "PYTHON=$(PYTHON) is older than 3.11, which Reverie needs." >&2; exit 1; }
endef
