# `make demo`: from nothing to demo-run/report.html.  `make test`: lint, types, tests with coverage.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test lint docs clean

demo: $(READY)
	$(BIN)/xelm demo --out demo-run

test: $(READY) lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --cov --cov-report=term --cov-fail-under=85

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation, into site/; fails on a warning.
docs: $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf .venv demo-run site .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

# Installed again only when a dependency changed; the package itself is editable.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $(READY)
