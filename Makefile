.DEFAULT_GOAL := help
.PHONY: help demo test core oldest coverage bench lint docs notebook

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q
TORCH := torch==2.13.0
CORE := tests/numerics tests/model tests/analyses
# Python 3.12 counts lines without slowing the program down; before it, only the tracer in C.
COVERAGE_CORE = $(shell $(BIN)/python -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")')
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | sort | expand -t 12

demo: $(VENV)/.runtime ## convert the shipped CLIP, check the sum, write figures to demo_out/
	$(BIN)/jaxclip demo

test: $(VENV)/.test ## run the tests; ROOM=model those of one room, PYTEST_ARGS="-k tokenizer" some
	$(BIN)/python -m pytest -n 2 --dist loadfile $(if $(ROOM),tests/$(ROOM)) $(PYTEST_ARGS)

oldest: $(BIN)/python ## run the tests with the oldest version of every dependency, in .venv-oldest
	$(BIN)/python -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install -q uv
	.venv-oldest/bin/python -m pip install -q $(TORCH) || echo "$(TORCH) could not be installed here: the comparisons with PyTorch will be skipped"
	.venv-oldest/bin/uv pip install -q --python .venv-oldest/bin/python --resolution lowest-direct -e '.[test]'
	.venv-oldest/bin/python -m pip install -q --no-deps -r tests/parity/requirements.txt || echo "open_clip could not be installed here: the comparisons with PyTorch will be skipped"
	.venv-oldest/bin/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

bench: $(VENV)/.test ## measure speed and memory, fill the tables of README and docs; REFERENCE=path/to/clip_text_span too
	$(BIN)/python experiments/bench_core.py
	$(BIN)/python experiments/bench_peers.py $(if $(REFERENCE),--reference $(REFERENCE))
	$(BIN)/python experiments/bench_textspan.py $(if $(REFERENCE),--reference $(REFERENCE))
	$(BIN)/python experiments/bench_pass.py
	$(BIN)/python experiments/bench_growth.py
	$(BIN)/python experiments/bench_tables.py

core: $(VENV)/.test ## the tests of the mathematics alone, for every save
	$(BIN)/python -m pytest -n 2 --dist loadfile $(CORE) $(PYTEST_ARGS)

coverage: $(VENV)/.test ## the tests with the lines they reach: a table, and htmlcov/index.html
	COVERAGE_CORE=$(COVERAGE_CORE) $(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term --cov-report=html $(PYTEST_ARGS)

lint: $(VENV)/.lint ## check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: $(VENV)/.docs ## build the documentation site in site/; warnings are errors
	$(BIN)/mkdocs build --strict

notebook: $(VENV)/.docs ## the tour as a notebook, docs/tour.ipynb
	$(BIN)/jupytext --to notebook docs/tour.py

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "jaxclip needs Python 3.11 or newer; install one, or name it: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make virtual environments; install its venv module (python3-venv)"; exit 1; }

$(VENV)/.runtime: pyproject.toml | $(BIN)/python
	@echo "installing jaxclip and what it needs in $(VENV) (a few minutes, once)"
	@$(PIP) -e .
	@touch $@

# torch comes first, so that nothing else brings in another version; without it the parity tests skip, saying so.
$(VENV)/.test: pyproject.toml tests/parity/requirements.txt | $(BIN)/python
	@echo "installing jaxclip, PyTorch and the tests in $(VENV) (a few minutes, once)"
	@$(PIP) $(TORCH) || echo "$(TORCH) could not be installed here: the comparisons with PyTorch will be skipped"
	@$(PIP) -e '.[test]'
	@$(PIP) --no-deps -r tests/parity/requirements.txt || echo "open_clip could not be installed here: the comparisons with PyTorch will be skipped"
	@touch $@ $(VENV)/.runtime

# pyright reads the types of everything that is imported, so it needs all of it; it brings its own Node.js.
$(VENV)/.lint: pyproject.toml | $(VENV)/.test
	@$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	@$(PIP) -e '.[docs]'
	@touch $@
