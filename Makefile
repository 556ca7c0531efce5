# Everything in two commands: make demo, make test. See 'make help'.
SHELL := /bin/bash
.SHELLFLAGS := -e -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-test demo test test-ros test-fast test-pythons test-arm64 coverage check pages doc bench \
	growth bench-bags weights clean

# What 'make weights' trains, from what (where 'make bench' looks for faces), and on what.
CONFIG ?= configs/esr-1-base.yaml configs/esr-9-64.yaml
DATA ?= data/ferplus
DEVICE ?= cpu

# For two cores: tests of nodes wait more than they compute.
SHARE := -n 3 --dist loadfile --no-loadscope-reorder
# Set in many containers. Each of the workers would compile all tests, whatever ran before.
unexport PYTHONDONTWRITEBYTECODE

SOURCES := CMakeLists.txt package.xml env.sh \
	$(shell find msg esr_core esr_ros scripts config launch models -type f -not -name '*.pyc')

help: ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## Install what the node needs and build the package
	@tools/setup.sh node
	@$(MAKE) --silent --no-print-directory install/.built

# vision_msgs, hri_msgs, tf2_msgs and foxglove_msgs, where ROS 2 comes from PyPI, which lacks them.
install/.interfaces: $(shell find interfaces -type f)
	@[ -e .venv/.ros_distro ] || { echo "setup: building the interfaces of other packages"; \
		source env.sh && COLCON_DEFAULTS_FILE=/dev/null colcon --log-level error build --base-paths interfaces \
		--event-handlers console_cohesion- --cmake-args -DBUILD_TESTING=OFF > .venv/build.log 2>&1; } \
		|| { tail -40 .venv/build.log; echo "setup: the build failed (details: .venv/build.log)" >&2; exit 2; }
	@mkdir -p install && touch $@

setup-test: setup ## Install PyTorch and what the tests need besides
	@tools/setup.sh test

install/.built: $(SOURCES) install/.interfaces
	@echo "setup: building the package"
	@rm -rf install/esr_ros/{,local/}lib/python*/*-packages/esr_*  # or removed modules would stay
	@source env.sh && COLCON_DEFAULTS_FILE=/dev/null colcon --log-level error build --event-handlers console_cohesion- \
		--cmake-args -DBUILD_TESTING=OFF > .venv/build.log 2>&1 \
		|| { tail -40 .venv/build.log; echo "setup: the build failed (details: .venv/build.log)" >&2; exit 2; }
	@touch $@

demo: setup ## Publish a photograph for 10 s, answer it, show what came out
	@source env.sh && python tools/demo.py

test: setup-test ## Run all tests
	@source env.sh && pytest $(SHARE)

test-ros: setup-test ## Run the ROS tests; with ROS=kilted in a new clone on Kilted
	@source env.sh && pytest $(SHARE) test/ros

test-fast: setup-test ## Run the tests of the core without training and without ROS; within a minute
	@source env.sh && pytest -n 2 test/core -m "not slow"

test-pythons: ## Install the wheel in Python 3.8 to 3.13, as far as they are here, and run it
	@test/platforms/pythons.sh

test-arm64: setup-test ## Compare the answers of an emulated 64-bit Arm with this machine's; needs root
	@source env.sh && test/platforms/arm64.sh $(wildcard $(DATA)/valid.npz.xz)

coverage: setup-test ## Run all tests, or TESTS=test/core; print the covered share of both packages
	@source env.sh && pytest $(SHARE) --cov --cov-report=term:skip-covered $(TESTS)

check: setup-test ## Check style, types and the layers of imports
	@source env.sh && ruff check . && ruff format --check . && mypy && lint-imports && \
		vermin --quiet --no-tips --violations -t=3.8- esr_core esr_ros scripts

pages: ## Write CHANGELOG.rst and models/README.md again, from the pages they are made of
	@python3 tools/pages.py

doc: ## Build the pages and the API reference as HTML: build/html/docs/index.html
	@[ -x build/doc/bin/sphinx-build ] || { python3 -m venv build/doc && \
		build/doc/bin/pip install --quiet -r requirements/doc.txt .; }
	@PYTHONPATH=. build/doc/bin/sphinx-build -q -c docs -D root_doc=docs/index . build/html

bench: setup-test ## Time all networks beside PyTorch and check the ratios; takes minutes
	@source env.sh && python tools/bench.py $(if $(wildcard $(DATA)/valid.npz.xz),--data $(DATA)/valid.npz.xz)

growth: setup-test ## Measure how cost grows with faces, pixels, cameras, branches, hours; takes minutes
	@source env.sh && mkdir -p build && python tools/growth.py --plot build/growth.png

bench-bags: setup-test ## Time esr annotate by threads, processes and Ray; takes minutes
	@source env.sh && python tools/bags.py

weights: setup-test ## Train and evaluate the shipped network again; see docs/training.md
	@source env.sh && tools/weights.sh "$(CONFIG)" $(DATA) $(DEVICE)

clean: ## Remove what was built and installed
	rm -rf .venv build install log demo
