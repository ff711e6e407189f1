# Concord. Needs Python >= 3.11, git and make; everything else is set up in .venv/ of this checkout.
#   make demo      systems brought into agreement, from nothing, in a few minutes
#   make test      the tests            make test-all   … with the slow and faulty ones
#   make check     format, lint, types, layers, unit tests, coverage of canonical/
SHELL := /bin/bash
PY := .venv/bin/python
CODE := apps benchmarks canonical connectors deployments expectations flows sandbox staging tasks
QUICK := not slow and not faults
# as many test processes as there are cores, four at most; a file's tests stay together
AT_ONCE := -n auto --maxprocesses 4 --dist loadfile
# the quick ones wait nearly as often as they work: one process more; and files keep their order, so that the many short
# ones (unit tests) come last and fill what the long ones leave
QUICK_AT_ONCE := -n $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((n < 4 ? n + 1 : 4))) --dist loadfile --no-loadscope-reorder

.PHONY: setup demo test test-slow test-all check format lock schema bench clean help
.DEFAULT_GOAL := help

help:
	@sed -n '2,4s/^# *//p' Makefile

# By the first Python >= 3.11 found; `make PYTHON=/path/to/python3` names another.
setup:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
	  "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  exec "$$python" deployments/bootstrap.py; \
	done; echo "make: no Python >= 3.11 with venv and pip found; name one: make PYTHON=/path/to/python3" >&2; exit 2

demo: setup
	@$(PY) -m apps.cli demo

test: setup
	@echo "Tests (without the slow ones and the fault matrix: make test-all)"
	@$(PY) -m pytest -q $(QUICK_AT_ONCE) -m "$(QUICK)"

test-slow: setup
	@echo "Slow tests and the fault matrix"
	@$(PY) -m pytest -q $(AT_ONCE) -m "slow or faults"

test-all: test test-slow

check: setup
	@echo "check 1/6: format";    $(PY) -m ruff format --check --quiet $(CODE) tests || { echo "run: make format" >&2; exit 1; }
	@echo "check 2/6: lint";      $(PY) -m ruff check --quiet $(CODE) tests
	@echo "check 3/6: types";     $(PY) -m mypy
	@echo "check 4/6: layers";    .venv/bin/lint-imports --no-logo
	@echo "check 5/6: unit tests"; $(PY) -m pytest -q $(AT_ONCE) tests/unit --cov --cov-report=
	@echo "check 6/6: coverage of canonical/ by branch"; $(PY) -m coverage report --fail-under=95

format: setup
	@$(PY) -m ruff check --fix --quiet $(CODE) tests; $(PY) -m ruff format --quiet $(CODE) tests

# Every package with its hashes, for every platform, naming no index.
lock: setup
	@echo "Resolving requirements.lock"
	@$(PY) -m uv --no-progress pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --all-extras $(UPGRADE) \
	  pyproject.toml -o requirements.lock
	@{ echo '# Made by `make lock`: every package pinned with hashes, no index named.'; cat requirements.lock; } \
	  > requirements.lock.new && mv requirements.lock.new requirements.lock

# The first revision's SQL from staging/tables/; only until the first release.
schema: setup
	@$(PY) -m staging.migrations.freeze

# Beside dlt, from three HTTP sources: docs/reference/performance.md
bench: setup
	@$(PY) -m benchmarks.load --rows 100000 --runs 3

clean:
	@rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .coverage
