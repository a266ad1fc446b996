# The verbs of the project. `make run` and `make test` need nothing but Python 3.10+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
endif
RUN_PARAMETERS ?=
BENCHMARK_OPTIONS ?=

.PHONY: help setup run test fast lint notebooks reference benchmark clean

help:            ## show these lines
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

setup: $(VENV)/.installed  ## make the virtual environment and install everything

# Installed again only when the pins or the package's own requirements change.
$(VENV)/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install -qq --no-deps --config-settings editable_mode=compat --editable .
	@$(BIN)/python -c "import pathlib; pathlib.Path('$(VENV)/.installed').touch()"

run: setup       ## execute the master notebook headless: profile smoke, demo cohort
	$(BIN)/ecgnb run --profile smoke $(RUN_PARAMETERS)

# One process more than the two cores of the smallest machine: tests wait for disks and kernels.
test: setup      ## all tests, in three processes
	$(BIN)/python -m pytest --numprocesses 3 --dist worksteal

fast: setup      ## the tests that take seconds
	$(BIN)/python -m pytest -m "not slow and not notebook"

lint: setup      ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

notebooks: setup ## write the notebooks anew from their sources
	$(BIN)/python notebooks/build.py

reference: setup ## execute the reference notebooks anew and keep their outputs
	$(BIN)/python notebooks/build.py --reference

benchmark: setup ## measure against the common recipes, side by side
	$(BIN)/python -m benchmarks $(BENCHMARK_OPTIONS)

clean:           ## remove what runs made (artifacts, figures, logs)
	$(PYTHON) -c "import pathlib, shutil; [shutil.rmtree(p) if p.is_dir() else p.unlink() for d in ('artifacts', 'figures', 'logs') for p in pathlib.Path(d).iterdir() if p.name != '.gitkeep']"
