# `make demo` and `make test` need Python 3.11+, make and git, and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SYNCED := $(VENV)/.synced-dev
RUNTIME_SYNCED := $(VENV)/.synced-runtime

.PHONY: demo test check format lint types contracts lock firmware soak fuzz benchmarks clean

demo: $(RUNTIME_SYNCED)
	$(BIN)/ampforge demo

test: $(SYNCED)
	$(BIN)/python -m pytest -n 2

check: $(SYNCED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term --cov-report=xml

format: $(SYNCED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

firmware: $(SYNCED)
	$(BIN)/python examples/flare/firmware/build.py

lock:
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" pyproject.toml -o requirements/runtime.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" pyproject.toml --group dev -c requirements/runtime.txt -o requirements/dev.txt

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(RUNTIME_SYNCED): requirements/runtime.txt requirements/dev.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

$(SYNCED): requirements/dev.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@ $(RUNTIME_SYNCED)
