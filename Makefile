# The front door: make demo, make test, make lint, make check; and what takes longer: make bench,
# make cluster, make soak, make scale, make beside.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint check bench cluster soak scale beside clean

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "alxreport needs Python 3.11 or newer"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[postgres,parquet,notify,serve,dev]'
	touch $(READY)

demo: $(READY)
	$(BIN)/alxreport demo build/demo

test: $(READY)
	$(BIN)/python -m compileall -q alxreport tests
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not soak"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

bench: $(READY)
	$(BIN)/python -m benchmarks.run

cluster: $(READY)
	$(BIN)/python -m benchmarks.cluster

soak: $(READY)
	$(BIN)/python -m benchmarks.soak

scale: $(READY)
	$(BIN)/python -m benchmarks.scale

# DLT_PYTHON: a Python with dlt[duckdb,sql_database] and pymysql; without one, dlt is left out.
beside: $(READY)
	$(BIN)/python -m benchmarks.beside --dlt-python "$(DLT_PYTHON)"

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
