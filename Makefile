# `make up` installs what is missing and starts everything. `make help` lists the rest.
# Needs Python >= 3.11; PYTHON=python3.12 chooses another than python3.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# cuda with an NVIDIA card, else cpu, on Linux; nothing on macOS.
EXTRA := $(shell $(PYTHON) -m app.machine extra 2>/dev/null)
INSTALLED := $(VENV)/.installed-$(or $(EXTRA),plain)

.DEFAULT_GOAL := help
.PHONY: setup up test test-slow screenshots bench check format docs clean help

setup: $(INSTALLED) ## make .venv with everything, test tools too

up: setup ## set up, then start everything; Ctrl-C stops it
	@$(BIN)/mlx-local up

# How many processes run tests, a file at a time each; more than 2 want as many GB of memory and cores. Files go in their order:
# by the number of their tests, the few long ones would come last, and one process would be alone with them.
TESTERS ?= 2

# The tests run engines in their own process: with the BLAS that workers have, one thread of it, because its threads spin while
# they wait, and the processes that tests start want the other cores.
PYTEST = OPENBLAS_NUM_THREADS=1 LD_PRELOAD="$$($(BIN)/python -m app.machine preload)" $(BIN)/pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder

test: setup ## set up, then run the tests
	$(PYTEST)

test-slow: setup ## the tests that take minutes
	$(PYTEST) -m slow

screenshots: setup ## take the pictures of docs/dashboard.md again; needs Chromium
	MLX_LOCAL_TEST_SCREENSHOTS=1 $(BIN)/pytest tests/e2e/test_dashboard_browser.py -k documentation

bench: setup ## measure this machine; many minutes, and nothing else should run
	$(BIN)/python -m bench

check: setup ## lint, format, types and import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## put the code into its format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: setup ## write docs/settings.md and docs/routes.md from the code
	$(BIN)/python -m app.cli.reference docs

clean: ## remove what building and testing leave; .venv and your data stay
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	find app bench daemon tests -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python >= 3.11 is needed, and $(PYTHON) is not that: install it, then run make with PYTHON=python3.11" >&2; exit 1; }
	@if $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null; then $(PYTHON) -m venv $(VENV); \
	elif command -v uv >/dev/null; then uv venv --quiet --seed --python "$$(command -v $(PYTHON))" $(VENV); \
	else echo "this Python has no venv: run 'apt-get install python3-venv' (Debian, Ubuntu), or install uv, and try again" >&2; exit 1; fi

# The cpu and the cuda wheel put a library into the same place, so one leaves before the other comes.
$(INSTALLED): pyproject.toml app/machine.py app/blas.py app/blas_shim.c | $(BIN)/python
	@echo "Installing into $(VENV) (the first time this takes minutes and about 1.5 GB)"
	@rm -f $(VENV)/.installed-*
	@test "$(EXTRA)" != cuda || $(BIN)/python -m pip uninstall --quiet --yes mlx-cpu 2>/dev/null
	@test "$(EXTRA)" != cpu || $(BIN)/python -m pip uninstall --quiet --yes mlx-cuda-13 2>/dev/null
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev$(if $(EXTRA),$(comma)$(EXTRA))]'
	@$(BIN)/python -m app.machine blas
	@touch $@

comma := ,
