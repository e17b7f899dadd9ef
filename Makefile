# Every target makes its own environment in .venv, once (again when pyproject.toml changes).
PYTHON ?= python3
EXTRAS ?= dev
VENV   := .venv
BIN    := $(VENV)/bin
comma  := ,
STAMP  := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))

.PHONY: demo test lint generated gallery clean help

help:
	@echo 'make demo        derive, emit, run and validate layers of GPT-2'
	@echo 'make test        the whole test suite'
	@echo 'make lint        ruff and mypy'
	@echo 'make generated   emit the catalogue again into generated/; with EMIT=--nvrtc compile it too'
	@echo 'make gallery     a site of the catalogue in site/: derivations, kernels, validation; broken off, it goes on'

demo: $(STAMP)
	$(BIN)/python examples/demo.py

test: $(STAMP)
	$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

generated: $(STAMP)
	find generated -mindepth 2 -type f ! -name contract.json -delete  # whose figures of NVRTC are kept
	$(BIN)/derive ops --json | $(BIN)/python -c 'import json, sys; print(*(o["name"] for o in json.load(sys.stdin)))' \
	    | xargs $(BIN)/derive emit -o generated $(EMIT)
	for folder in generated/*/; do [ -e "$$folder"*.cu ] || rm -r "$$folder"; done

gallery: $(STAMP)
	$(BIN)/python -m derive.gallery -o site

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	    || { echo 'derive needs Python 3.10 or newer: make PYTHON=/path/to/python3.12' >&2; exit 2; }
	@if [ ! -x $(BIN)/pip ]; then $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	    echo 'python could not make a virtual environment with pip in it.' >&2; \
	    echo 'On Debian and Ubuntu: apt install python3-venv; elsewhere: install ensurepip.' >&2; exit 2; }; fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $@

clean:
	rm -rf $(VENV) build dist site .pytest_cache .ruff_cache .mypy_cache .hypothesis
