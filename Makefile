# Everything a contributor does, one target each. Needs Python >= 3.11, Rust and make; everything else
# is installed into .venv/. Stamps in .make/ keep a recipe from repeating what is done.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# Jobs of make are counted over a pipe that only other makes get: rustdoc would warn that it is not there.
CARGO := env -u MAKEFLAGS -u MFLAGS cargo
CARGO_FLAGS := --manifest-path kernel/Cargo.toml

# PROFILE=checked builds a kernel that stops at overflows and failed assertions, for campaigns.
PROFILE := release
RUST_TARGET := x86_64-unknown-linux-gnu

# Tests and fuzz targets are no part of the compiled module.
KERNEL_SOURCES := $(shell find kernel/Cargo.* kernel/build.rs kernel/src -type f)
PACKAGE_SOURCES := $(shell find src -name '*.py' -o -name '*.pyi' -o -name '*.html' -o -name '*.js' -o -name '*.css' -o -name '*.svg' -o -name '*.properties')
BENCH_OPTIONS :=
# Seconds that each fuzz target runs.
FUZZ_S := 600
# 0 draws another each time; the short form repeats itself as far as time allows.
FUZZ_SEED := 0
FUZZ_TARGETS := $(notdir $(wildcard kernel/fuzz/corpus/*))
FUZZ_TARGETS_PYTHON := $(notdir $(wildcard tests/campaigns/fuzz/corpus/*))

export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup setup-package setup-spark build fmt lint lint-python lint-rust test test-python test-rest test-engine test-campaigns test-branches test-rust test-spark spark-cluster coverage mutation audit trust \
	fuzz fuzz-short sanitize sanitize-address sanitize-thread bench bench-short bench-throughput bench-latency bench-sustained bench-memory bench-growth bench-spark \
	demo wheel pex lock smoke docs-check screenshots clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z -]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

# Another profile is another build.
.make/profile-%: | .make
	@rm -f .make/profile-*
	@touch $@

.make/build: .make/dev .make/profile-$(PROFILE) $(KERNEL_SOURCES) pyproject.toml
	@$(BIN)/maturin develop --profile $(PROFILE) --quiet >/dev/null 2>.make/build.log || { cat .make/build.log >&2; false; }
	@touch $@

fmt: .make/dev ## format Python and Rust
	@$(BIN)/ruff check --quiet --fix-only
	@$(BIN)/ruff format --quiet
	@$(CARGO) fmt $(CARGO_FLAGS)
	@$(CARGO) fmt --manifest-path kernel/fuzz/Cargo.toml

lint: lint-python lint-rust ## formatting, lints, types, import layers, the kernel's stub

lint-python: .make/build
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --quiet --check
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/mypy
	@$(BIN)/python -m mypy.stubtest --concise upswell.kernel._kernel
	@PYTHONPATH=src $(BIN)/lint-imports

lint-rust:
	@$(CARGO) fmt $(CARGO_FLAGS) --check -- -l
	@$(CARGO) fmt --manifest-path kernel/fuzz/Cargo.toml --check -- -l
	@$(CARGO) clippy --quiet $(CARGO_FLAGS) --all-targets -- -D warnings
	@$(CARGO) clippy --quiet $(CARGO_FLAGS) --all-targets --features python -- -D warnings

# Spark is half a gigabyte, and nothing without Java: where that is missing, its tests are skipped.
ifneq ($(shell command -v java),)
SPARK := .make/spark
endif

setup-spark: .make/spark

.make/spark: .make/dev
	@$(PIP) install --group spark
	@touch $@

test: build lint test-rust test-python ## everything that is checked before a change lands

test-rust:
	@$(CARGO) test --quiet $(CARGO_FLAGS)

# Tests of the page want a browser: without Debian's chromium they are skipped.
# Some tests compute and some wait: three of these parts run beside each other, whatever --jobs says.
test-python: .make/build $(SPARK) $(if $(shell command -v chromium),.make/browser)
	@$(MAKE) --no-print-directory --keep-going --jobs 3 --output-sync=target \
		timed-test-campaigns timed-test-engine timed-test-branches timed-test-rest

# timed-X makes X and adds a line to .make/seconds: how long it took.
timed-%: | .make
	@began=$$(date +%s); $(MAKE) --no-print-directory $*; code=$$?; \
		echo "$$(($$(date +%s) - began)) $*" >>.make/seconds; exit $$code

test-campaigns:
	@$(BIN)/python -m pytest --quiet -m trust --ignore tests/campaigns/suite/test_branches.py

test-engine:
	@$(BIN)/python -m pytest --quiet -m "not trust" tests/engine tests/dashboard

test-rest:
	@$(BIN)/python -m pytest --quiet -m "not trust" --ignore tests/engine --ignore tests/dashboard

test-branches:
	@$(BIN)/python -m pytest --quiet tests/campaigns/suite/test_branches.py

.make/browser: .make/dev
	@$(PIP) install --group browser
	@touch $@

screenshots: .make/build .make/browser ## take the pictures in docs/images/ again, of the page over generated data (needs chromium; two minutes)
	@PYTHONPATH=tests $(BIN)/python -m tools.screenshots docs/images
test-spark: .make/build .make/spark dist/upswell.pex ## runs on a cluster of Spark on loopback, with kills of everything that takes part
	@TESTS=spark $(BIN)/python -m pytest --quiet -m spark

spark-cluster: .make/build .make/spark ## a master of Spark at spark://127.0.0.1:7077 with two workers, until Ctrl-C
	@PYTHONPATH=src $(BIN)/python tests/support/cluster.py .make/spark-cluster

# The test measures and fails below all branches; the table shows where.
coverage: .make/build ## branch coverage of commit, checkpoint, sink, source and recovery: must be 100 %
	@$(BIN)/python -m pytest --quiet tests/campaigns/suite/test_branches.py; code=$$?; $(BIN)/python -m coverage report && exit $$code

# It goes on where it was cut off; MUTANTS="upswell.commit*" tries those alone.
mutation: .make/mutation ## how many mutants of the same parts the tests kill, for hours; MUTANTS=... for some
	@$(BIN)/mutmut run $(MUTANTS)
	@PYTHONPATH=tests $(BIN)/python -m tools.mutants

.make/mutation: .make/build pyproject.toml
	@$(PIP) install --group mutation
	@rm -rf mutants
	@touch $@

# What it has covered is kept in .trust/ and not tried again while the sources are the same.
trust: .make/build ## every campaign over all of its cases, for hours; continues where it was interrupted
	@TESTS=slow $(BIN)/python -m pytest --quiet -m "trust or slow"
	@PYTHONPATH=tests $(BIN)/python -m tools.trust_report

fuzz: $(FUZZ_TARGETS:%=fuzz-%) $(FUZZ_TARGETS_PYTHON:%=fuzz-%) ## fuzz each target for FUZZ_S seconds

fuzz-short: FUZZ_S = 10
fuzz-short: FUZZ_SEED = 1
fuzz-short: fuzz ## the same for ten seconds each (--jobs 2: two at a time)

# What is found is kept in .fuzz/; what breaks a promise goes to the corpus, with its mend.
FUZZED = -seed=$(FUZZ_SEED) -max_total_time=$(FUZZ_S) -max_len=8192 -timeout=20 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1 \
	-artifact_prefix=.fuzz/broken-$*- .fuzz/$*

$(FUZZ_TARGETS:%=fuzz-%): fuzz-%: .make/fuzz
	@mkdir -p .fuzz/$*
	@kernel/fuzz/target/$(RUST_TARGET)/release/$* -malloc_limit_mb=64 $(FUZZED) kernel/fuzz/corpus/$* 2>.fuzz/$*.log || \
		{ tail -60 .fuzz/$*.log >&2; false; }
	@echo "$@: $$(sed -n 's/^stat::number_of_executed_units: *//p' .fuzz/$*.log) inputs"

$(FUZZ_TARGETS_PYTHON:%=fuzz-%): fuzz-%: .make/build .make/fuzz-python
	@mkdir -p .fuzz/$*
	@$(BIN)/python tests/support/fuzz/run.py $* $(FUZZED) tests/campaigns/fuzz/corpus/$* >.fuzz/$*.log 2>&1 || \
		{ tail -60 .fuzz/$*.log >&2; false; }
	@echo "$@: $$(sed -n 's/^stat::number_of_executed_units: *//p' .fuzz/$*.log) inputs"

# The flags of sanitizers and coverage are those of a nightly compiler, which the variable opens on the stable one. They
# are those of cargo-fuzz, which would take longer to compile than they do to write.
FUZZ_COVERAGE := level=4 inline-8bit-counters pc-table trace-compares stack-depth
FUZZ_FLAGS := --cfg fuzzing -Zsanitizer=address -Cdebug-assertions -Ccodegen-units=16 -Cpasses=sancov-module \
	$(FUZZ_COVERAGE:%=-Cllvm-args=-sanitizer-coverage-%) -Cllvm-args=-simplifycfg-branch-fold-threshold=0

.make/fuzz: $(KERNEL_SOURCES) $(shell find kernel/fuzz/Cargo.* kernel/fuzz/src kernel/fuzz/targets -type f) | .make
	@RUSTC_BOOTSTRAP=1 RUSTFLAGS='$(FUZZ_FLAGS)' $(CARGO) build --release --manifest-path kernel/fuzz/Cargo.toml \
		--target $(RUST_TARGET) 2>.make/fuzz.log || { cat .make/fuzz.log >&2; false; }
	@touch $@

.make/fuzz-python: .make/dev | .make/build
	@$(PIP) install --group fuzz
	@touch $@

# The standard library is not compiled anew: kernel/src/threads.rs and tsan.suppressions say what follows from that.
sanitized = RUSTC_BOOTSTRAP=1 RUST_TEST_THREADS=1 CARGO_PROFILE_TEST_OPT_LEVEL=1 \
	RUSTFLAGS='-Zsanitizer=$(1) -Cunsafe-allow-abi-mismatch=sanitizer --cfg sanitizer="$(1)"' \
	TSAN_OPTIONS=suppressions=$(CURDIR)/kernel/tests/tsan.suppressions \
	$(CARGO) test --quiet $(CARGO_FLAGS) --target $(RUST_TARGET) --target-dir kernel/target/$(1)
# The sanitizer must end the planted fault with these words.
planted = if $(call sanitized,$(1)) --test planted -- --ignored $(2) >.make/planted-$(1).log 2>&1 || \
	! grep --quiet '$(3)' .make/planted-$(1).log; then cat .make/planted-$(1).log >&2; false; fi

sanitize: sanitize-address sanitize-thread ## the kernel's tests and the fuzz corpus under the address, leak and thread sanitizers

sanitize-address: | .make
	@$(call sanitized,address) --lib --tests
	@$(call planted,address,overflow,heap-buffer-overflow)
	@$(call planted,address,leak,detected memory leaks)

sanitize-thread: | .make
	@$(call sanitized,thread) --lib --tests
	@$(call planted,thread,race,data race .*planted)

docs-check: .make/build dist/upswell.pex ## run the commands of README, CONTRIBUTING and docs/
	@$(BIN)/python -m pytest --quiet -rs tests/repository/test_docs_commands.py tests/repository/test_procedures.py \
		tests/repository/test_container.py

wheel: .make/wheel ## dist/upswell-*.whl: one for every Python from 3.11 on any Linux from 2014 (glibc 2.17)

# zig links against an old glibc; the remapping keeps the paths of this machine out of the product. Nothing of it can be
# shared with `make build`, which would only be waited for.
.make/wheel: .make/package $(KERNEL_SOURCES) $(PACKAGE_SOURCES) pyproject.toml README.md LICENSE
	@rm -f dist/*.whl
	@PATH="$(CURDIR)/$(BIN):$$PATH" \
		RUSTFLAGS="--remap-path-prefix=$(CURDIR)=upswell --remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=cargo" \
		maturin build --release --zig --compatibility manylinux2014 --out dist --target-dir kernel/target/wheel --quiet \
		2>.make/wheel.log || { cat .make/wheel.log >&2; false; }
	@ls dist/*.whl
	@touch $@

setup-package: .make/package

.make/package: .make/venv pyproject.toml
	@$(PIP) install --group package
	@touch $@

pex: dist/upswell.pex ## dist/upswell.pex: the one-file deliverable, wheel and dependencies in one

# --venv and --sh-boot: from the second start on it is as quick as an installed command.
# Of the dependencies only files with the digests of requirements.lock get in; the wheel is our own. Neither pip nor pex
# takes one without a digest beside others with one, so the others are fetched first.
dist/upswell.pex: .make/wheel requirements.lock
	@rm -rf .make/locked
	@PIP_CONSTRAINT= $(PIP) download --no-deps --only-binary :all: --require-hashes --requirement requirements.lock --dest .make/locked
	@$(BIN)/python -m pex "$$(echo dist/upswell-*.whl)[dashboard,metrics]" --no-pypi --find-links .make/locked --no-build \
		--interpreter-constraint 'CPython>=3.11' --python-shebang '/usr/bin/env python3' \
		--venv prepend --sh-boot --script upswell --output-file $@

lock: .make/lock ## requirements.lock: what constraints.txt pins, each with the digests of its files
	@PIP_CONSTRAINT= .make/lock-venv/bin/pip-compile --quiet --generate-hashes --no-header --no-annotate --strip-extras \
		--no-emit-index-url --no-emit-find-links --output-file requirements.lock constraints.txt

.make/lock: .make/venv pyproject.toml
	@$(PYTHON) -m venv .make/$(@F)-venv
	@PIP_CONSTRAINT= .make/$(@F)-venv/bin/python -m pip --quiet --disable-pip-version-check install 'pip==26.3'
	@PIP_CONSTRAINT= .make/$(@F)-venv/bin/python -m pip --quiet install --group $(@F)
	@touch $@

smoke: dist/upswell.pex ## the brief's sample with dist/upswell.pex, as on a machine without this repository
	@$(BIN)/python tools/smoke.py dist/upswell.pex

# A question's program keeps its figures in bench/results/; the page is made of all that are there.
BENCH := PYTHONPATH=src .make/bench-venv/bin/python -m
BENCH_SPARK := $(if $(SPARK),.make/bench-spark)

bench: ## how fast, how soon, how much memory, how it grows: bench/RESULTS.md (hours; each has a target of its own)
	@$(MAKE) --no-print-directory $(addprefix measure-,throughput latency sustained memory growth $(if $(SPARK),spark))
	@$(BENCH) bench.report

bench-throughput bench-latency bench-sustained bench-memory bench-growth bench-spark: bench-%: measure-% ## one of these
	@$(BENCH) bench.report

measure-throughput: $(BENCH_SPARK)

# Its session is that of the extra.
measure-spark: .make/build .make/spark .make/bench-spark
	@$(BIN)/python -m bench.spark $(BENCH_OPTIONS)

measure-%: .make/build .make/bench
	@$(BENCH) bench.$* $(BENCH_OPTIONS)

bench-short: .make/build .make/bench $(BENCH_SPARK) ## every program's answer equals ours, on few records, clean and dirty
	@$(BENCH) bench.throughput --short

# The programs that are compared have environments of their own: they are never dependencies of ours.
.make/bench .make/bench-spark: .make/%: .make/venv pyproject.toml
	@$(PYTHON) -m venv .make/$*-venv
	@PIP_CONSTRAINT= .make/$*-venv/bin/python -m pip --quiet --disable-pip-version-check install 'pip==26.3'
	@PIP_CONSTRAINT= .make/$*-venv/bin/python -m pip --quiet install --group $*
	@touch $@

# Asks PyPI, so it is no part of `make test`. A package that the database does not know is told, and is no failure.
audit: .make/audit ## known vulnerabilities of what is shipped, if the databases can be reached
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

clean: ## remove what was built, but not .venv/, bench/data/ and the counts in .trust/
	@$(CARGO) clean --quiet $(CARGO_FLAGS)
	@rm -rf dist mutants .make .demo .fuzz kernel/fuzz/target .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@rm -f src/upswell/kernel/*.so
