# make preview | check | test | lint | docs | bench | faults | clean. Each makes .venv first when it is missing or stale.
# STACK=prod is for preview and check; STACKS="dev prod" is for faults, which takes all without it.
STACK ?= dev
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: preview check test lint docs bench faults clean
preview: $(STAMP)
	@$(BIN)/preflight check --plan $(STACK)

check: $(STAMP)
	@$(BIN)/preflight check $(STACK)

test: $(STAMP)
	@PULUMI_ERROR_OUTPUT_STRING=true $(BIN)/pytest --numprocesses auto --dist loadfile

lint: $(STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/basedpyright

docs: $(STAMP)
	@$(BIN)/python docs/generate.py

bench: $(STAMP)
	@$(BIN)/python tests/bench.py

faults: $(STAMP)
	@$(BIN)/python -m tests.engine.sweep $(STACKS)

clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .hypothesis

$(STAMP): requirements.txt requirements-dev.txt pyproject.toml
	@echo "Setting up .venv with pip; this takes about a minute, once."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, found " + sys.version.split()[0] + ": call make PYTHON=python3.11")'
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	@touch $@
