# Everything a contributor does, one target each. Needs Python >= 3.11, Rust and make; what else is
# needed is installed into .venv/. Stamps in .make/ keep a recipe from doing again what is done.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
CARGO := cargo
CARGO_FLAGS := --manifest-path kernel/Cargo.toml

KERNEL_SOURCES := $(shell find kernel -path kernel/target -prune -o -type f -print)
PACKAGE_SOURCES := $(shell find src -name '*.py' -o -name '*.pyi' -o -name '*.html' -o -name '*.js' -o -name '*.css')
BENCH_OPTIONS :=

export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup build fmt lint lint-python lint-rust test test-python test-rust test-faults bench bench-short \
	bench-throughput bench-latency bench-sustained bench-memory bench-growth \
	demo wheel pex smoke docs-check clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .make/dev ## the virtual environment in .venv/, with the tools that pyproject.toml pins

# An interpreter that is too old is told here, in words; pip would say it about maturin.
.make/venv: | .make
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make setup PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install 'pip==26.3'
	@touch $@

.make/dev: .make/venv pyproject.toml constraints.txt
	@$(PIP) install --group dev
	@touch $@

.make:
	@mkdir -p $@

build: .make/build ## the release kernel in .venv/, when its sources changed

.make/build: .make/dev $(KERNEL_SOURCES) pyproject.toml
	@$(BIN)/maturin develop --release --quiet >/dev/null 2>.make/build.log || { cat .make/build.log >&2; false; }
	@touch $@

fmt: .make/dev ## format Python and Rust
	@$(BIN)/ruff check --quiet --fix-only
	@$(BIN)/ruff format --quiet
	@$(CARGO) fmt $(CARGO_FLAGS)

lint: lint-python lint-rust ## formatting, lints, types, import layers, the kernel's stub

lint-python: .make/build
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --quiet --check
	@$(BIN)/mypy
	@$(BIN)/python -m mypy.stubtest --concise upswell._kernel
	@PYTHONPATH=src $(BIN)/lint-imports

lint-rust:
	@$(CARGO) fmt $(CARGO_FLAGS) --check -- -l
	@$(CARGO) clippy --quiet $(CARGO_FLAGS) --all-targets -- -D warnings
	@$(CARGO) clippy --quiet $(CARGO_FLAGS) --all-targets --features python -- -D warnings

test: build lint test-rust test-python ## everything that is checked before a change lands

test-rust:
	@$(CARGO) test --quiet $(CARGO_FLAGS)

test-python: .make/build
	@$(BIN)/python -m pytest --quiet

test-faults: .make/build ## the long fault campaigns
	@TESTS=slow $(BIN)/python -m pytest --quiet tests/test_*_faults.py tests/test_engine_kills.py
	@TESTS=slow $(BIN)/python -m pytest --quiet -m slow

docs-check: .make/build ## run the commands of README, CONTRIBUTING and docs/
	@$(BIN)/python -m pytest --quiet tests/test_docs_commands.py

wheel: .make/wheel ## dist/upswell-*.whl: one for every Python from 3.11 on any Linux from 2014 (glibc 2.17)

# zig links against an old glibc; the remapping keeps the paths of this machine out of the product.
.make/wheel: .make/package $(KERNEL_SOURCES) $(PACKAGE_SOURCES) pyproject.toml README.md LICENSE
	@rm -f dist/*.whl
	@PATH="$(CURDIR)/$(BIN):$$PATH" \
		RUSTFLAGS="--remap-path-prefix=$(CURDIR)=upswell --remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=cargo" \
		maturin build --release --zig --compatibility manylinux2014 --out dist --quiet \
		2>.make/wheel.log || { cat .make/wheel.log >&2; false; }
	@ls dist/*.whl
	@touch $@

.make/package: .make/venv pyproject.toml
	@$(PIP) install --group package
	@touch $@

pex: dist/upswell.pex ## dist/upswell.pex: the one-file deliverable, wheel and dependencies in one

# --venv and --sh-boot: from the second start on it is as quick as an installed command.
dist/upswell.pex: .make/wheel constraints.txt
	@$(BIN)/python -m pex dist/upswell-*.whl --constraints constraints.txt --no-build \
		--interpreter-constraint 'CPython>=3.11' --python-shebang '/usr/bin/env python3' \
		--venv prepend --sh-boot --script upswell --output-file $@

smoke: dist/upswell.pex ## the brief's sample with dist/upswell.pex, as a stranger's machine would run it
	@$(BIN)/python tests/smoke.py dist/upswell.pex

# A question's program keeps its figures in bench/results/; the page is made of all that are there.
BENCH := PYTHONPATH=src .make/bench-venv/bin/python -m
# Spark is half a gigabyte, and nothing without Java.
SPARK := $(if $(shell command -v java),.make/bench-spark)

bench: ## how fast, how soon, how much memory, how it grows: bench/RESULTS.md (hours; each has a target of its own)
	@$(MAKE) --no-print-directory $(addprefix measure-,throughput latency sustained memory growth)
	@$(BENCH) bench.report

bench-throughput bench-latency bench-sustained bench-memory bench-growth: bench-%: measure-% ## one of them
	@$(BENCH) bench.report

measure-throughput: $(SPARK)

measure-%: .make/build .make/bench
	@$(BENCH) bench.$* $(BENCH_OPTIONS)

bench-short: .make/build .make/bench $(SPARK) ## every program's answer equals ours, on few records, clean and dirty
	@$(BENCH) bench.throughput --short

# The programs that are compared have environments of their own: they are never dependencies of ours.
.make/bench .make/bench-spark: .make/%: .make/venv pyproject.toml
	@$(PYTHON) -m venv .make/$*-venv
	@PIP_CONSTRAINT= .make/$*-venv/bin/python -m pip --quiet --disable-pip-version-check install 'pip==26.3'
	@PIP_CONSTRAINT= .make/$*-venv/bin/python -m pip --quiet install --group $*
	@touch $@

demo: .make/build ## a tour on generated data
	@$(BIN)/upswell demo

clean: ## remove what was built, but not .venv/ and bench/data/
	@$(CARGO) clean --quiet $(CARGO_FLAGS)
	@rm -rf dist .make .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@rm -f src/upswell/*.so
