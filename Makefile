# `make demo` and `make test` set up everything they need in $(VENV); Python >= 3.10 and make are enough.
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11 python3.10 python,$(shell \
	$(p) -c 'import sys; sys.version_info >= (3, 10) and print("$(p)")' 2>/dev/null)))
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
WORKERS ?= 2
ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up-with-$(notdir $(CONSTRAINTS))
EXAMPLES = $(sort $(wildcard examples/*.py))
BENCHMARKS = benchmarks/overhead.py benchmarks/exchange.py benchmarks/check.py

# One thread a process: on few cores more of them only wait for each other, and one thread is repeatable.
export OMP_NUM_THREADS = 1
export PYTHONUNBUFFERED = 1
unexport VIRTUAL_ENV PYTHONPATH

.PHONY: help setup demo test test-full pytest lint examples bench accuracy docs pictures constraints clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo         a sick network and its healthy twin on real data, diagnosed (about a minute)'
	@echo 'make test         the quick tests: lint, types, floors, tests, doctests, every example (ARGS= goes to pytest)'
	@echo 'make test-full    the same with the tests marked "full", which make test lists as skipped'
	@echo 'make lint         ruff, mypy and import-linter'
	@echo 'make examples     run every example with --quick'
	@echo 'make bench        what watching costs, as a ratio of step times'
	@echo 'make accuracy     how often faults are named and the healthy accused, on recorded fits (an hour the first time)'
	@echo 'make docs         write the rule pages and the tables made from the rules'
	@echo 'make pictures     draw the pictures of the rule pages (records fits that are missing) and write the pages'
	@echo 'make constraints  renew the pins in constraints.txt'
	@echo 'make clean        remove caches and what runs have written (not $(VENV))'

setup: $(STAMP)

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@test -n "$(PYTHON)" || { echo 'No Python >= 3.10 found; name one: make PYTHON=/path/to/python'; exit 1; }
	@test -x $(BIN)/python || { echo "Setting up $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint $(CONSTRAINTS) --editable '.[dev]'
	@rm -f $(VENV)/.set-up-with-*
	@touch $@

demo: $(STAMP)
	$(BIN)/lightning-diag demo

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

examples: $(STAMP)
	@for file in $(EXAMPLES); do echo "== $$file"; $(BIN)/python $$file --quick || exit 1; done

pytest: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

# pytest (which runs every example too) comes last, so that its closing line is the last one printed.
test: lint
	@$(MAKE) --no-print-directory pytest

test-full: lint
	@$(MAKE) --no-print-directory pytest ARGS='--full $(ARGS)'

bench: $(STAMP)
	@for file in $(BENCHMARKS); do echo "== $$file"; $(BIN)/python $$file $(ARGS) || exit 1; done

accuracy: $(STAMP)
	$(BIN)/python benchmarks/accuracy.py --half reporting --markdown $(ARGS)

docs: $(STAMP)
	$(BIN)/python docs/generate.py

# A fit differs a little from machine to machine, and the pictures with it; ARGS= goes to docs/pictures.py (codes, --stale).
pictures: $(STAMP)
	$(BIN)/python docs/pictures.py $(ARGS)
	$(BIN)/python docs/generate.py

# The CUDA libraries are left out: each torch build names its own.
constraints: $(STAMP)
	@{ echo '# What `make` installs: one tried version of everything, on Python 3.10 to 3.13. Renew with `make constraints`.'; \
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --all-extras --upgrade --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links pyproject.toml | grep -v -E '^(nvidia|cuda)-'; } > constraints.txt.new
	mv constraints.txt.new constraints.txt

clean:
	rm -rf dist build lightning_logs checkpoints .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print | xargs rm -rf
