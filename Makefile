# make demo: install and run the shipped study.
# make test: install, check and test.  make test-all: every family, method and width besides.
# make lowest: the tests with the lowest versions that pyproject.toml allows, on Python 3.10.
# make torture: kill, damage and mislead a study, and write docs/reliability.md (half an hour).
# make fuzz: a minute of fuzzing, guided by coverage, for each sort of input (Linux on x86-64).
# make canary: measure a few pinned cells, and explain what an upgrade moved (a minute).
# make docs: build the site.
# make findings, make reference, make notebook, make picture: write what the docs show of the code.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOWEST := build/lowest

# A worker for each core, one thread each, in an order drawn anew; its seed is printed first. The
# sources are compiled once, whatever the environment says, for the hundreds of processes started.
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: demo test test-all lowest torture fuzz canary check docs findings reference notebook picture clean

demo: $(VENV)/.installed
	$(BIN)/finetrap demo

test: check
	$(PYTEST)

test-all: check
	$(PYTEST) -m "" --cov --cov-report=term:skip-covered --cov-fail-under=92

# Another Python: make lowest PYTHON=python3.11
lowest: PYTHON = python3.10
lowest: BIN = $(LOWEST)/bin
lowest: $(LOWEST)/.tested
	$(PYTEST)

torture: $(VENV)/.tested
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.torture

fuzz: $(VENV)/.fuzzed
	$(BIN)/python -m benchmarks.fuzz

canary: $(VENV)/.tested
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.canary

check: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.documented docs/example/report.html
	$(BIN)/python docs/write_findings.py --reports
	$(BIN)/mkdocs build --strict
	test -f site/example/report.html && test -f site/findings/svamp-smollm2-q4/report.html

# The report that the site shows: the demo, measured once; `make clean` forgets it.
docs/example/report.html: | $(VENV)/.documented
	$(BIN)/finetrap run demo --runs build/example
	$(BIN)/finetrap report demo --runs build/example --out docs/example

# The tables of docs/findings, from the packed runs of studies/results.
findings: $(VENV)/.installed
	$(BIN)/python docs/write_findings.py

reference: $(VENV)/.installed
	$(BIN)/python docs/write_reference.py
	$(BIN)/python docs/write_events.py

notebook: $(VENV)/.tested
	$(BIN)/python docs/write_notebook.py

# The README's picture: the first screen of a real study's report, by headless Chromium.
# Of another page: make picture PICTURED=finetrap-demo/report.html
PICTURED ?= studies/results/svamp-qwen-search-q4.tar.xz
picture: $(VENV)/.tested
	$(BIN)/python docs/take_picture.py $(PICTURED) docs/report.png

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .[test]
	touch $@

# Its wheels are for Linux on x86-64 alone.
$(VENV)/.fuzzed: $(VENV)/.tested
	$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	touch $@

$(VENV)/.documented: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .[docs]
	touch $@

$(LOWEST)/.tested: pyproject.toml benchmarks/lowest.py
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check packaging tomli
	$(LOWEST)/bin/python -m benchmarks.lowest test > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c $(LOWEST)/constraints.txt -e .[test]
	touch $@

clean:
	rm -rf $(VENV) build site dist docs/example src/*.egg-info
