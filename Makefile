# Every verb a developer or an operator needs; CI runs the same ones.
SHELL := bash
PYTHON ?= python3
VENV ?= .venv
# ONNX Runtime comes in two builds that must not be mixed: the GPU one where a driver answers.
RUNTIME ?= $(if $(shell command -v nvidia-smi 2>/dev/null),gpu,cpu)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(RUNTIME)
TRAIN_STAMP := $(VENV)/.installed-$(RUNTIME)-train
DEV_STAMP := $(VENV)/.installed-$(RUNTIME)-dev
# auto: uv, brought by pip where it is not there, and pip where that fails; or uv, or pip.
INSTALLER ?= auto
INSTALL = $(BIN)/python -m services.parts.installing --installer $(INSTALLER) --extras
export BENTOML_DO_NOT_TRACK := True
# uv gives up after 30 seconds of silence, and some of the files are of hundreds of megabytes.
export UV_HTTP_TIMEOUT ?= 180

.DEFAULT_GOAL := help
.PHONY: help install dev up doctor serve demo tour check fix test fast coverage bench default-model bento image clean

help: ## List the verbs
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk 'BEGIN {FS = ":.*?## "}; {printf "  make %-13s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml | $(BIN)/python
	@$(INSTALL) $(RUNTIME)
	@touch $@

$(TRAIN_STAMP): pyproject.toml | $(BIN)/python
	@$(INSTALL) $(RUNTIME),train
	@touch $(STAMP) $@

$(DEV_STAMP): pyproject.toml | $(BIN)/python
	@$(INSTALL) $(RUNTIME),train,imagenet,dev
	@touch $(STAMP) $(TRAIN_STAMP) $@

install: $(TRAIN_STAMP) ## Install what serving and training need
dev: $(DEV_STAMP) ## Install what development needs as well

up: $(STAMP) ## Serve on http://localhost:3000; what retraining needs is installed beside it
	$(BIN)/rightly up --with-retraining

doctor: $(STAMP) ## Say what is installed, what is missing, and the command for it
	$(BIN)/rightly doctor

serve: $(STAMP) ## Serve the registry as it is, without the default model
	$(BIN)/rightly serve --with-retraining

demo: $(TRAIN_STAMP) ## Show the whole loop: shortcut, alarm, retraining, promotion under load
	OMP_NUM_THREADS=1 $(BIN)/python -m services.showing.demo

tour: $(TRAIN_STAMP) ## Serve a model whose alarm stands, to review, retrain and promote in the browser
	OMP_NUM_THREADS=1 $(BIN)/python -m services.showing.tour

check: $(DEV_STAMP) ## Format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(DEV_STAMP) ## Let the linter mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: check ## Install what is needed, check, and run every test
	OMP_NUM_THREADS=1 $(BIN)/pytest

fast: $(DEV_STAMP) ## Run what needs no server, no training and no browser: two minutes
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m "not system and not slow and not data" tests/audit tests/contracts tests/repository tests/services

coverage: $(DEV_STAMP) ## Hold every branch of what decides: gate, rollout, policy
	OMP_NUM_THREADS=1 $(BIN)/pytest -q --cov=audit.gate --cov=audit.rollout --cov=audit.policy --cov-branch --cov-report=term-missing --cov-fail-under=100 tests/audit

bench: $(DEV_STAMP) ## Print every benchmark's table in its quick size
	for each in benchmarks/*.py; do OMP_NUM_THREADS=1 $(BIN)/python $$each --quick || exit 1; done

default-model: $(TRAIN_STAMP) ## Train the model that comes along anew, after a change to its recipe
	OMP_NUM_THREADS=1 $(BIN)/python -m services.showing.default_model

bento: $(STAMP) ## Build a Bento of the service
	$(BIN)/bentoml build

image: ## Build the serving image (needs Docker)
	docker build --target serve -t rightly:latest .

clean: ## Remove the virtual environment and the build outputs, never var/
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
