.DEFAULT_GOAL := help
.PHONY: help demo test oldest lint bench

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q
TORCH := torch==2.13.0
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## convert the shipped CLIP, check the sum, write figures to demo_out/
	$(BIN)/jaxclip demo

test: $(VENV)/.test ## run the tests; PYTEST_ARGS="-k tokenizer" picks some
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

oldest: $(BIN)/python ## run the tests with the oldest version of every dependency, in .venv-oldest
	$(BIN)/python -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install -q uv
	.venv-oldest/bin/uv pip install -q --python .venv-oldest/bin/python --resolution lowest-direct -e '.[test]'
	.venv-oldest/bin/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

bench: $(VENV)/.test ## measure speed and memory, fill the tables of README and docs; REFERENCE=path/to/clip_text_span too
	$(BIN)/python experiments/bench_core.py
	$(BIN)/python experiments/bench_peers.py $(if $(REFERENCE),--reference $(REFERENCE))
	$(BIN)/python experiments/bench_textspan.py $(if $(REFERENCE),--reference $(REFERENCE))
	$(BIN)/python experiments/bench_pass.py
	$(BIN)/python experiments/bench_growth.py
	$(BIN)/python experiments/bench_tables.py

lint: $(VENV)/.lint ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

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

$(VENV)/.lint: pyproject.toml | $(BIN)/python
	@$(PIP) 'ruff>=0.9'
	@touch $@
