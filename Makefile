# Everything that this repository can do, each with one command. `make help` lists it.

# What demo, bench and lock pass on to their program, e.g. `make demo ARGS=--once`.
ARGS ?=

# Releases younger than this are not taken into the locks, so that a bad one is noticed first.
COOLDOWN ?= 3 days

# Lines and branches that the tests must reach, in per cent: of everything, and of STRICT.
COVERAGE := 95
STRICT := src/gpukeeper/domain/*,src/gpukeeper/novita/protocol.py,src/gpukeeper/webhooks/*

venv := .venv
python := $(venv)/bin/python
ready := $(venv)/.ready
pip := $(python) -m pip install --quiet --disable-pip-version-check --no-input
compile := $(python) -m uv pip compile --no-config --quiet --universal --python-version 3.11 \
	--generate-hashes --no-strip-extras --no-emit-index-url --no-header --exclude-newer '$(COOLDOWN)'

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Every target with a word of help is a command and no file.
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*\#\# .*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## list what make can do here
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(ready) ## the service against a local Novita simulator: an order in, a signed webhook out
	@$(python) scripts/demo.py $(ARGS)

test: check ## everything of `check`, the whole test suite, and how much of the code it reached
	$(python) -m pytest -n 3 --dist worksteal --cov --cov-report=term
	$(python) -m coverage report --format=total --fail-under=$(COVERAGE)
	$(python) -m coverage report --format=total --fail-under=100 --include='$(STRICT)'

deployment: $(ready) ## the stacks of compose.yaml on a running Docker engine, the proxy example, the alert rules
	$(python) -m pytest tests/deployment

check: $(ready) ## format, lint, types, layers, file lengths, drift of the generated docs
	$(python) -m ruff format --check
	$(python) -m ruff check
	$(python) -m mypy
	$(python) -m pytest tests/architecture

crash: $(ready) ## kill the real service 200 times at bad moments, and count what was lost or doubled
	$(python) -m tests.crash.run --kills 200

replicas: $(ready) ## kill one of three replicas 50 times, and measure when the others take over
	$(python) -m tests.replicas.run --kills 50 $(ARGS)

browser: $(ready) ## the dashboard's tests in Chromium, which has to be installed
	$(python) -m pytest tests/browser

shots: $(ready) ## take the pictures of docs/images with Chromium
	$(python) -m pytest tests/browser/shots.py

format: $(ready) ## write the code the way `check` wants it
	$(python) -m ruff check --fix --exit-zero
	$(python) -m ruff format

docs: $(ready) ## write the generated parts of docs/: settings, CLI, metrics, OpenAPI
	$(python) scripts/docs.py

lock: $(ready) ## write requirements/*.txt after a change of the dependencies in pyproject.toml
	$(compile) --output-file requirements/runtime.txt --extra otel pyproject.toml $(ARGS)
	$(compile) --output-file requirements/build.txt --group build $(ARGS)
	$(compile) --output-file requirements/dev.txt --group dev --extra otel pyproject.toml \
		--constraint requirements/runtime.txt --constraint requirements/build.txt $(ARGS)

upgrade: ## write requirements/*.txt with the newest releases that pyproject.toml allows
	$(MAKE) lock ARGS=--upgrade

fuzz: $(ready) ## the API against its OpenAPI document, and everything that reads what strangers send
	GPUKEEPER_TEST_FUZZ_EXAMPLES=200 $(python) -m pytest tests/e2e/test_fuzzing.py -s
	HYPOTHESIS_PROFILE=fuzz $(python) -m pytest tests/novita tests/webhooks

ssrf: $(ready) ## try every hostile webhook URL, and print how many were refused
	$(python) -m tests.webhooks.ssrf

bench: bench-order bench-read bench-start bench-dashboard bench-webhooks bench-watch bench-retention bench-scale ## every benchmark

bench-order: $(ready) ## how fast an order goes through
	$(python) -m bench.order $(ARGS)

bench-read: $(ready) ## how fast one instance and a page are shown, beside a bare route
	$(python) -m bench.read $(ARGS)

bench-start: $(ready) ## how soon the service is ready, on an empty store and on a large one
	$(python) -m bench.start $(ARGS)

bench-dashboard: $(ready) ## 500 instances and 50 open dashboards
	$(python) -m bench.dashboard $(ARGS)

bench-webhooks: $(ready) ## 10,000 webhooks to ten receivers, one of which hangs; 100 instances at once
	$(python) -m bench.webhooks $(ARGS)

bench-watch: $(ready) ## what it costs to watch up to 10,000 machines, and a plot of it
	$(python) -m bench.watch --plot docs/images/watch.svg $(ARGS)

bench-retention: $(ready) ## reads and orders while old rows are removed, and while they are kept
	$(python) -m bench.retention $(ARGS)

bench-scale: $(ready) ## three replicas on PostgreSQL that watch up to 100,000 machines, and a plot
	$(python) -m bench.scale --plot docs/images/scale.svg $(ARGS)

bench-smoke: $(ready) ## what a request, an order, a look and a webhook cost, counted and not timed
	$(python) -m pytest tests/counts

chaos: $(ready) ## 500 orders through ten simulated hours while Novita spoils 30 % of its answers
	$(python) -m tests.chaos.run $(ARGS)

clean: ## remove what make made here: .venv, caches, coverage (never data/)
	rm -rf $(venv) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov

# One environment serves everything; it is made anew only when the lock or the project file changes.
$(ready): requirements/dev.txt pyproject.toml
	@sh scripts/venv.sh
	@echo 'Installing the packages of requirements/dev.txt into $(venv)'
	@$(pip) --require-hashes --requirement requirements/dev.txt
	@$(pip) --no-build-isolation --no-deps --editable .
	@touch $@
