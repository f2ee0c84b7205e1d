# Everything runs in a virtual environment that is made here. PYTHON is the interpreter it is made with, PYTEST_ARGS what
# pytest gets beside the tests' own options. Two test files run at a time, each with servers of its own.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TWO_AT_A_TIME := -n 2 --dist loadfile --no-loadscope-reorder
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test soak bench picture simulation release audit lint docs format matrix ends servers clean

help:  ## what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1: /p' $(MAKEFILE_LIST)

demo: $(VENV)/.demo  ## the main job, for real, on embedded brokers (or on REDIS_URL and AMQP_URI)
	$(BIN)/python example_project/demo.py

test: $(VENV)/.test $(VENV)/.mysql $(VENV)/.browser  ## the whole suite, on servers of its own
	$(BIN)/python -m pytest $(TWO_AT_A_TIME) $(PYTEST_ARGS)

soak: $(VENV)/.test $(VENV)/.mysql  ## what takes an hour or more: a million events, more of each fault, random orders
	$(BIN)/python -m pytest -m soak $(PYTEST_ARGS)
	EVENTS_OF_EACH=3000 $(BIN)/python -m pytest tests/acceptance/test_outbox_faults.py $(PYTEST_ARGS)

bench: $(VENV)/.bench | servers  ## what it costs and how fast it is, against the ways without it; BENCH_SCALE=0.1 for fewer rounds
	$(BIN)/python -m pytest -m bench -s -q tests/bench $(PYTEST_ARGS)

picture: $(VENV)/.bench  ## docs/bench.svg, and the table of docs/explanation/cost.md, from docs/bench.json
	$(BIN)/python -m tests.bench.picture docs/bench.json docs/bench.svg

simulation: $(VENV)/.bench  ## the tables of docs/explanation/limits.md, from docs/bench.json: what ten or a hundred workers would do
	$(BIN)/python -m tests.bench.simulation docs/bench.json

release: $(VENV)/.release  ## wheel and sdist of what is committed, in dist/, checked; REPOSITORY=https://… if origin is not its address
	$(BIN)/python -m tests.release $(REPOSITORY)

audit: $(VENV)/.audit  ## what is known against the oldest and the newest versions that setup.cfg allows; asks PyPI
	$(BIN)/python -m tests.audit

lint: $(VENV)/.lint  ## style, import contracts, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy
	PYTHONPATH=tests/typing/project $(BIN)/mypy --config-file tests/typing/project/mypy.ini

docs: $(VENV)/.docs  ## the site, in build/docs; a wrong link or name ends it
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs

format: $(VENV)/.lint  ## put the style right
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

matrix: servers $(VENV)/.lint  ## the tests on each supported Python, Django and Celery that this machine has
	$(BIN)/nox $(NOX_ARGS)

clean:  ## remove what was made
	rm -rf $(VENV) .nox build dist *.egg-info .*_cache

ends: servers $(VENV)/.lint  ## the unit and PostgreSQL tests on the oldest and the newest versions that setup.cfg promises, and on psycopg 2
	$(BIN)/nox -s ends

servers:
	@.ci/install-servers

$(VENV)/.mysql $(VENV)/.browser: | servers
$(VENV)/.%: setup.cfg pyproject.toml | $(VENV)/.made
	$(PIP) install --editable '.[$*]'
	@touch $@

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || \
		{ echo "$(PYTHON) has no venv: install it (on Debian, python3-venv)." >&2; exit 1; }
	@touch $@
