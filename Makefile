# make demo: train on the built-in text and print a sample.  make test: the whole suite.
# Both set up what they need in .venv; PYTHON chooses the interpreter that it is made from.

PYTHON  ?= python3
WORKERS ?= 2

BIN    := .venv/bin
READY  := .venv/ready
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

.PHONY: help setup demo test quick lint bench sanitize clean

help:
	@echo "make setup   make .venv and install torchrnn and its tools into it"
	@echo "make demo    train on the built-in text for under two minutes and print a sample"
	@echo "make test    run the whole suite"
	@echo "make quick   run the suite without its slow tests"
	@echo "make lint    check style and types"
	@echo "make bench   measure training times against torch.nn, and write benchmarks/results.json"
	@echo "make sanitize  run the native engine under the sanitizers of the compiler"
	@echo "make clean   remove .venv, caches and runs/demo"

setup: $(READY)

$(READY): pyproject.toml setup.py constraints.txt $(wildcard csrc/*)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

demo: $(READY)
	$(BIN)/torchrnn train --output runs/demo --overwrite --max-minutes 1.5 --threads 1 --seq-length 25 --learning-rate 0.005
	$(BIN)/torchrnn sample runs/demo --length 500 --start-text "The " --temperature 0.6

test: $(READY)
	$(PYTEST)

quick: $(READY)
	$(PYTEST) -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python benchmarks/bench.py

sanitize: $(READY)
	PYTHON=$(BIN)/python tests/sanitize

clean:
	rm -rf .venv build src/torchrnn/scan/_native runs/demo src/*.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
