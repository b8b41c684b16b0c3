# Three commands need nothing but Python 3.10 or newer, make and git:
#
#   make quickstart   from small real images to a trained, exported, proven and measured model, with a report
#   make test         the default tests, in at most six minutes on two cores
#   make test-all     all tests that run on a CPU, in about half an hour
#
# and one takes an hour on a quiet machine of two cores:
#
#   make bench-paper  the paper's networks and newer ones side by side: docs/paper.md (goes on where it was stopped)
#
# Each builds what it needs of .venv, once, with the versions of constraints.txt.

PYTHON ?= python3
BIN := .venv/bin
INSTALL = $(BIN)/uv pip install --quiet --constraints constraints.txt
WHAT ?= tests
WORKERS ?= 2
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

.PHONY: help quickstart test test-rest test-all check format bench-paper dist constraints clean
help:
	@sed -n 's/^#   //p' Makefile

quickstart: .venv/.quickstart
	$(BIN)/nextvit quickstart

test: .venv/.development .venv-runtime/.ready
	$(PYTEST) $(WHAT)
	.venv-runtime/bin/python -m pytest tests/runtime

# What `make test` leaves out.
test-rest: .venv/.development
	$(PYTEST) -m "(backend or training or slow) and not network and not gpu" $(WHAT)

test-all: test test-rest

check: .venv/.development
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: .venv/.development
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench-paper: .venv/.development
	$(BIN)/python benchmarks/paper.py

# A wheel and a source distribution of this clone, which `pip install 'dist/FILE.whl[onnx]'` installs elsewhere.
dist: .venv/.uv
	$(BIN)/uv build --clear --quiet --out-dir dist

# Resolve all dependencies anew: names and versions for every Python that we support.
constraints: .venv/.development
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.10 \
		--upgrade --no-header --no-annotate --quiet --output-file constraints.txt

clean:
	rm -rf .venv .venv-runtime dist

.venv/.uv: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed, $(PYTHON) is `$(PYTHON) --version`; try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	@touch $@

.venv/.quickstart: .venv/.uv pyproject.toml
	@echo "installing (torch is large: the first time takes minutes)"
	$(INSTALL) --python $(BIN)/python --editable '.[quickstart]'
	@touch $@

.venv/.development: .venv/.quickstart
	$(INSTALL) --python $(BIN)/python --group dev --editable '.[all]'
	@touch $@

# What a server needs, and no torch: the tests of nextvit.runtime run here too.
.venv-runtime/.ready: .venv/.uv pyproject.toml
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-runtime
	$(INSTALL) --python .venv-runtime/bin/python --editable '.[onnx]' pytest
	@touch $@
