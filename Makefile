# Everything runs where only Python >= 3.11, pip and make exist.
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup demo test slow claims lint clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("entrepot needs Python 3.11 or newer: make PYTHON=/path/to/python3.11") if sys.version_info < (3, 11) else None'
	@echo "Installing $(TORCH) first. On plain Linux this is the CUDA build of several GB;"
	@echo "a CPU build is smaller: make demo TORCH=<URL or file of a CPU wheel>."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	@echo "Installing Entrepôt and what it needs (about 100 packages, one to three minutes)."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $(STAMP)

demo: setup
	@$(BIN)/entrepot demo $(ARGS)

test: setup
	@TMPDIR="$$(.ci/scratch)" $(BIN)/python -m pytest -q -n logical --maxprocesses 4 --dist loadfile $(ARGS)

slow: setup
	@TMPDIR="$$(.ci/scratch)" $(BIN)/python -m pytest -q -m slow $(ARGS)

claims: setup
	@$(BIN)/python -m tests.claims

lint: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

clean:
	rm -rf .venv build dist *.egg-info
