# `make` lists what there is to do. Every target sets up what it needs and can be stopped and started again.
.DEFAULT_GOAL := help
BIN := .venv/bin
READY := .venv/.ready
# Test processes; each file of tests stays within one (see tests/conftest.py), and TensorFlow keeps to one thread in each.
WORKERS ?= 2

# Programs of this environment come first on PATH: nbgrader starts `alembic` by name.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help demo test quick check bench bank sweep data lab docs clean

help: ## list these targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-8s %s\n", $$1, $$2 }'

$(READY): pyproject.toml constraints.txt scripts/setup.sh
	@scripts/setup.sh environment
	@touch $@

demo: $(READY) ## grade a class of sample submissions and show the marks (some minutes, set-up included)
	@scripts/setup.sh sandbox
	@$(BIN)/autograder demo

test: $(READY) ## everything that must hold: style, up-to-date notebooks, all tests (about half an hour)
	@scripts/setup.sh sandbox
	@scripts/setup.sh browser
	@scripts/setup.sh database
	@$(MAKE) --no-print-directory check
	@$(BIN)/pytest -n $(WORKERS)

quick: $(READY) ## the tests that take less than about ten seconds each
	@$(BIN)/pytest -m "not slow"

check: $(READY) ## style of the code, source/ and release/ as course/ makes them, and what the lessons need
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/autograder build --check
	@$(BIN)/autograder lint

bench: $(READY) ## grade a class with plain nbgrader and with this grader, side by side (half an hour); writes bench/latest.json
	@scripts/setup.sh sandbox
	@$(BIN)/python -m autograder.bench
	@$(BIN)/python -m autograder.simulate --write

bank: $(READY) ## judge all that the bank of answers has, mutants and seeds too (many hours; may be stopped); writes docs/fidelity.md
	@scripts/setup.sh sandbox
	@$(BIN)/autograder bank --mutants || true
	@$(BIN)/autograder bank --seeds 20 --solutions || true
	@$(BIN)/autograder bank --seeds 20 || true
	@$(BIN)/python -m autograder.fidelity
	@$(BIN)/python -m autograder.fidelity --check

sweep: $(READY) ## solve every episode with ten seeds, on each set of images there is: full marks each time
	@CNN_COURSE_SEEDS=10 $(BIN)/pytest tests/test_notebooks.py -k every_seed --timeout 7200

data: $(READY) ## fetch CIFAR-10 from its publisher and make the course's images from it (170 MB)
	@$(BIN)/autograder data

lab: $(READY) ## open JupyterLab on the course, with Formgrader
	@$(BIN)/jupyter lab

docs: $(READY) ## build the documents as a site, with every link within it checked; opens from build/docs/index.html
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --jobs auto -d build/doctrees docs build/docs
	@echo "Open build/docs/index.html in a browser."

clean: ## remove what tests and demo left; .venv, images, submissions and marks stay
	@rm -rf demo build dist .pytest_cache .ruff_cache .hypothesis logs/setup.log
	@find autograder helpers tests -name __pycache__ -type d -prune -exec rm -rf {} +
