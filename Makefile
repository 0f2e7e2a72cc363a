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
ROUNDS := 5

export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup build fmt lint lint-python lint-rust test test-python test-rust test-faults bench bench-short \
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

bench: .make/build .make/bench ## against Polars, on 20 million records; ROUNDS=n for fewer than 5
	@$(BIN)/python bench/compare.py --rounds $(ROUNDS) --results bench/RESULTS.md

bench-short: .make/build .make/bench ## the same answer as Polars, on a million records, clean and dirty
	@$(BIN)/python bench/compare.py --records 1000000 --rounds 0 --dirty 0.01

# Polars has an environment of its own: it is never a dependency of ours.
.make/bench: .make/venv pyproject.toml
	@$(PYTHON) -m venv .make/bench-venv
	@PIP_CONSTRAINT= .make/bench-venv/bin/python -m pip --quiet --disable-pip-version-check install 'pip==26.3'
	@PIP_CONSTRAINT= .make/bench-venv/bin/python -m pip --quiet install --group bench
	@touch $@

# Asks PyPI, so it is no part of `make test`. A package that the database does not know is told, and is no failure.
.PHONY: audit
audit: .make/audit ## known vulnerabilities of what is shipped, as far as their databases can be reached
	@.make/audit-venv/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off
	@if command -v cargo-audit >/dev/null; then cargo audit --file kernel/Cargo.lock; \
		else echo "crates: not asked, because cargo-audit is not installed (cargo install cargo-audit)"; fi

.make/audit: .make/venv pyproject.toml
	@$(PYTHON) -m venv .make/audit-venv
	@PIP_CONSTRAINT= .make/audit-venv/bin/python -m pip --quiet --disable-pip-version-check install 'pip==26.3'
	@PIP_CONSTRAINT= .make/audit-venv/bin/python -m pip --quiet install --group audit
	@touch $@

demo: .make/build ## a tour on generated data
	@$(BIN)/upswell demo

clean: ## remove what was built, but not .venv/ and bench/data/
	@$(CARGO) clean --quiet $(CARGO_FLAGS)
	@rm -rf dist .make .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@rm -f src/upswell/*.so
