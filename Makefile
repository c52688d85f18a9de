# Needs make and a Python of 3.11 or newer, nothing else. `make` lists the targets.

VENV  := .venv
BIN   := $(VENV)/bin
LOCK  := requirements/dev.lock
READY := $(VENV)/.ready

# Tried in this order; `make PYTHON=/path/to/python setup` goes first.
PYTHONS := $(PYTHON) python3.13 python3.12 python3.11 python3

.DEFAULT_GOAL := help
.PHONY: help setup run test cover check bench budget docs lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv and install everything at the locked versions

$(READY): pyproject.toml $(LOCK)
	@test -x $(BIN)/python || { \
	  for python in $(PYTHONS) ""; do \
	    test -n "$$python" || { echo "Jetio needs Python 3.11 or newer with its venv module; none of these is one: $(PYTHONS)"; exit 1; }; \
	    "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	  done; \
	  echo "1/3 making $(VENV) with $$("$$python" --version)"; \
	  "$$python" -m venv $(VENV); \
	}
	@echo "2/3 installing $$(grep -c '==' $(LOCK)) packages from $(LOCK)"
	@awk '/^uv==/ { on = 1 } on { print } on && !/\\$$/ { exit }' $(LOCK) > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	@rm -f $(VENV)/.synced
	@{ VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync --require-hashes --compile-bytecode $(LOCK) 2>&1 \
	  && touch $(VENV)/.synced; } | awk '!/^ [-+~] /'
	@test -e $(VENV)/.synced || { \
	  echo "uv cannot install here; pip takes over, which is slower"; \
	  $(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r $(LOCK); \
	}
	@echo "3/3 installing jetio itself, editable"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: setup ## Start the blog example; its documentation is at http://127.0.0.1:8000/docs
	@echo "The blog example: http://127.0.0.1:8000/docs (Ctrl-C ends it)"
	@$(BIN)/python -m examples.blog

test: setup ## Run every test, several at a time
	@$(BIN)/pytest -m alone
	@$(BIN)/pytest -m "not alone" -n logical --dist loadscope --no-loadscope-reorder

# Apart from `test`: on Python 3.11 a traced process can hang for ever in the destructor of a thread's greenlets.
cover: setup ## Run every test with the coverage gate
	@$(BIN)/pytest -m "not alone" -n logical --dist loadscope --no-loadscope-reorder --cov

check: setup ## Lint, formatting, types, documentation
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: setup ## Measure Jetio beside its peers
	@$(BIN)/python -m benchmarks

budget: setup ## Count the work of requests anew and write tests/work/budget.json
	@$(BIN)/python -m tests.work --write

docs: setup ## Build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Open site/index.html"

lock: ## Write the lock anew after pyproject.toml changed (UPGRADE=--upgrade for newer versions)
	@$(BIN)/uv pip compile --quiet --universal --all-extras --group dev --generate-hashes \
	  --no-header --no-annotate --no-emit-package jetio $(UPGRADE) -o $(LOCK) pyproject.toml

clean: ## Remove all that these targets made, the environment too
	rm -rf $(VENV) site dist build .coverage .coverage.* htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
