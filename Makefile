# Everything a developer or the CI runs. Each target sets up what it needs; the first one in a fresh clone takes a minute.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PY := .venv/bin/python
BIN := .venv/bin
SOURCES := runtime packager router tests examples

# The first interpreter that is new enough and can make virtual environments; `make PYTHON=/path/to/python` overrides it.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 /usr/bin/python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

# Modules that decide: with no I/O in them, nothing excuses an untested line.
PURE := */policy/*,*/plan.py,*/drafting/*,*/dispatch/*,*/worker/lifecycle.py,*/worker/ahead.py,*/worker/batcher.py,*/worker/costs.py,*/worker/lengths.py,*/worker/poison.py,*/wire/frames.py,*/wire/ring.py,*/digest.py

.PHONY: help venv fmt lint types imports tidy check test sim cov cov-all fallbacks fuzz wheel demo clean FORCE

help: ## list the targets
	@grep -hE '^[a-z%-]+:.*## ' Makefile | sed -E 's/^([a-z%-]+):.*## /\1|/' | column -t -s '|'

venv: .venv/.installed ## make .venv and install glowplug into it, when pyproject.toml has changed

.venv/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 with venv on PATH: install python3 and python3-venv"; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

fmt: venv ## format, and fix what can be fixed
	$(BIN)/ruff check --fix --quiet $(SOURCES) || true
	$(BIN)/ruff format --quiet $(SOURCES)

lint: venv ## format check and ruff
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)

types: venv ## mypy, strict
	$(BIN)/mypy

imports: venv ## who may import whom
	$(BIN)/lint-imports

tidy: venv ## sizes, names and other house rules
	$(PY) -m pytest -q tests/test_tidy.py

check: lint imports types tidy ## all that needs no running of the code

test: venv ## all tests but those that need a GPU or AWS
	$(PY) -m pytest tests

sim: venv ## the simulations alone
	$(PY) -m pytest tests/simulation

cov: venv ## coverage of the unit and contract tests: all of the pure modules, and a floor for the rest
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q tests/unit tests/contract
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=65 --skip-covered | tail -n 1
	$(BIN)/coverage report --fail-under=100 --include='$(PURE)'

cov-all: venv ## coverage of every test, processes included: 85 % overall
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest tests
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

fallbacks: venv ## the system tests on a machine that lacks pidfd, memfd, cgroups and the fork server
	GLOWPLUG_WITHOUT=pidfd,cgroup,zygote,memfd $(PY) -m pytest -q tests/system/test_agent.py tests/system/test_promises.py -k 'not second_start_is_forked'

fuzz: venv ## search two minutes for bytes that break the frames
	@$(PY) -c 'import atheris' 2> /dev/null || $(PY) -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	PYTHONPATH=runtime nice $(PY) tests/fuzz/fuzz_frames.py -max_total_time=120 -max_len=4096

wheel: venv ## build the wheel and run the demo with it, from a folder that holds a user's own router.py and runtime.py
	rm -rf dist/wheel && mkdir -p dist/wheel/user
	$(PY) -m pip wheel --quiet --no-deps --wheel-dir dist/wheel .
	$(PY) -m venv dist/wheel/venv
	dist/wheel/venv/bin/python -m pip install --quiet --disable-pip-version-check "$$(ls dist/wheel/*.whl)[local]"
	touch dist/wheel/user/router.py dist/wheel/user/runtime.py dist/wheel/user/packager.py
	cd dist/wheel/user && ../venv/bin/glowplug --help > /dev/null && ../venv/bin/python -c 'from glowplug import endpoint'
	cd dist/wheel/user && ../venv/bin/python ../../../examples/demo.py
	rm -rf dist/wheel

demo: venv ## a model served on this machine, from nothing to an answer
	$(PY) examples/demo.py

bench-%: venv FORCE ## one benchmark, for example bench-cli or bench-path; a JSON line for each figure
	@$(PY) tests/benchmarks/bench_$*.py

clean: ## remove everything that was made here
	rm -rf .venv dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.*
	find runtime packager router tests examples -name __pycache__ -prune -exec rm -rf {} +
