# Two commands: `make climb` (set up, fetch the model, run the main job, write the report) and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
unexport PYTHONDONTWRITEBYTECODE  # the tests start many processes: each would compile the package anew

# `make quick` is for people at work: a part of the tests, under a minute.
.PHONY: climb test quick lower lint types docs setup clean

climb: $(VENV)/.climb
	$(BIN)/rung models pull
	$(BIN)/rung climb support-intent --report report.html

test: $(VENV)/.dev
	$(BIN)/rung models pull smollm2-135m static minilm glove
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

quick: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --dist loadfile -m 'not model and not server and not slow'

# The embedded model's tests as a processor without AVX-512, VNNI and bfloat16 computes them, whatever this one has.
LOWER = ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2
lower: $(VENV)/.dev
	$(BIN)/rung models pull smollm2-135m static minilm glove
	$(LOWER) $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m model --timeout 900

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

setup: $(VENV)/.dev

$(VENV)/.venv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rung needs Python 3.11 or newer; got " + sys.version + "\ntype: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	touch $@

$(VENV)/.climb: $(VENV)/.venv pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --compile -c constraints.txt -e '.[climb]'
	touch $@

$(VENV)/.dev: $(VENV)/.venv pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --compile -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.climb

docs: $(VENV)/.docs
	$(BIN)/python -m rung.cli.base.reference docs/reference
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo 'open build/site/index.html'

$(VENV)/.docs: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV)
