# The only door. `make help` lists what is behind it; a line with `##` is what it lists.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCKS := deploy/locks
# One more than there are cores: integration tests wait for the processes they start.
WORKERS = $(shell expr $$(nproc) + 1)

.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:
.PHONY: help setup demo check test test-all bench scale chaos lock clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) \
		| while IFS='|' read -r name text; do printf '  make %-9s %s\n' "$$name" "$$text"; done

setup: $(VENV)/.dev ## set up .venv with everything a developer needs (repeats are instant)

demo: $(VENV)/.demo ## run a simulated district and prove its energy (DEMO_SECONDS=60, 0 = until Ctrl-C; BROKER=host:port)
	@$(BIN)/nenghao demo

check: $(VENV)/.dev ## lint, format, types and dependency rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## check, then all tests but the slow ones; installs mosquitto, influxdb, postgresql, chromium where it may
	@tools/test-servers install
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m "not slow" $(ARGS)
	@tools/test-servers warn

test-all: check ## test, and what takes longer: slow cases, many more random examples
	@tools/test-servers install
	HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest $(ARGS)
	@tools/test-servers warn

bench: $(VENV)/.dev ## measure: decoder, kernel, pipeline, edge (prints machine and commit; no pass or fail)
	$(BIN)/python -m tests.benchmarks $(ARGS)

scale: $(VENV)/.dev ## how many meters this machine carries, with CPU, memory and delays (ARGS=--help: the figures)
	@tools/test-servers install
	$(BIN)/python -m tests.benchmarks.scale $(ARGS)

chaos: $(VENV)/.demo ## break everything, prove the ledger, seed after seed until one fails (CHAOS_SEED=1, CHAOS_MINUTES=2 each, CHAOS_SEEDS=N, 0: no end)
	@$(BIN)/nenghao prove-chaos --seed $${CHAOS_SEED:-1} --minutes $${CHAOS_MINUTES:-2} --rounds $${CHAOS_SEEDS:-0} $(ARGS)

lock: ## bring deploy/locks in line with pyproject.toml (ARGS=--upgrade renews what is not pinned)
	tools/lock $(BIN)/uv $(LOCKS) $(ARGS)

clean: ## remove caches and what runs left behind; keeps .venv
	rm -rf var dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# The stamps .demo and .dev are newer than the lock they installed; pip makes good what differs.
$(VENV)/.demo: $(LOCKS)/demo.txt pyproject.toml | $(BIN)/pip
	@echo "Installing what the demo needs into $(VENV) (about a minute and 200 MB the first time) ..."
	@$(PIP) install --quiet --require-hashes -r $(LOCKS)/demo.txt
	@$(PIP) install --quiet --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/.dev: $(LOCKS)/dev.txt pyproject.toml | $(BIN)/pip
	@echo "Installing what development needs into $(VENV) (a minute or two the first time) ..."
	@$(PIP) install --quiet --require-hashes -r $(LOCKS)/dev.txt
	@$(PIP) install --quiet --no-build-isolation --no-deps -e .
	@touch $(VENV)/.demo $@

# pip is the last thing venv writes, so a half-made environment is made again.
$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { echo "nenghao needs Python 3.11 or newer; '$(PYTHON)' is not there. Name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "nenghao needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "'$(PYTHON)' has no venv; on Debian: apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
