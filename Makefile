# Everything runs from a fresh clone: `make demo` shows the main job, `make test` proves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
LONG = $(shell grep -rlw long_form tests --include='test_*.py')

.DEFAULT_GOAL := help
DEBIAN := chromium prometheus
CLUSTER := conntrack containerd containernetworking-plugins dnsmasq-base etcd-server iproute2 iptables nftables runc
TARGET ?= cpu
IMAGE ?= offramp
BASE ?= python:3.11-slim
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' consumer/__init__.py)
LABEL = --label org.opencontainers.image.

.PHONY: help setup debian debiancluster tools demo test chaos cluster fuzz check audit licences format bench docs lock image sbom dist clean

help:  ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(VENV)/.ready  ## Install everything into .venv

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "offramp needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(shell sed -n 's/^uv==//p' constraints.txt)
	$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/.bench: $(VENV)/.ready
	$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt --editable '.[dev,bench]'
	touch $@

debian:  ## Install the Debian packages that some tests need, as root
	apt-get update --quiet
	DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends $(DEBIAN)

debiancluster:  ## Install the Debian packages with which `make cluster` makes a cluster, as root
	$(MAKE) debian DEBIAN="$(CLUSTER)"

tools: setup  ## Build the Go tools that some tests need, once: helm, kubeconform, kube-score
	$(BIN)/python -m tests.support.chart.go_tools

demo: setup  ## Stream texts of five domains through two workers; ARGS=--help tells the options
	$(BIN)/python -m demo $(ARGS)

test: setup check  ## Lint, types, and all tests, with a real Kafka and a real Redis
	$(BIN)/python -m pytest -n 2 tests/unit tests/contract tests/reference tests/statistical
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder tests/chaos tests/integration

chaos: setup  ## Prove exactly-once the long way: kills, freezes, restarts, outages (forty minutes)
	OFFRAMP_CHAOS=long $(BIN)/python -m pytest -s $(LONG) $(ARGS)

cluster: tools  ## Prove the chart on a cluster: that of KUBECONFIG, or one that it makes (half an hour)
	OFFRAMP_CLUSTER_RESULTS=build $(BIN)/python -m pytest -v -s tests/cluster $(ARGS)

fuzz: setup  ## Throw bytes at what reads records, for a minute; ARGS=-max_total_time=3600 for longer
	@mkdir -p build/fuzz
	$(BIN)/python -m tests.fuzz.fuzz_records build/fuzz tests/fuzz/seeds -dict=tests/fuzz/records.dict -timeout=5 -max_total_time=60 $(ARGS)

check: setup audit licences  ## Lint, format, types, import directions, workflows, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/zizmor --quiet --offline --persona pedantic --min-severity low .github

audit: setup  ## Look the pinned versions up in a database of vulnerabilities, if it answers
	$(BIN)/python -m deploy.release.audit

licences: setup  ## List licences; one that pyproject.toml does not allow is an error
	$(BIN)/pip-licenses --summary

format: setup  ## Format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: $(VENV)/.bench  ## Run all benchmarks, ARGS=--quick for a short look
	@for file in $$(find benchmarks -name '[a-z]*.py' | sort); do \
		name=$$(echo $${file%.py} | tr / .); \
		grep -q __main__ $$file || continue; \
		echo "== $$name"; $(BIN)/python -m $$name $(ARGS) || exit 1; \
	done

docs: setup  ## Build the site of the docs into build/site; every link is checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo "open build/site/index.html, or serve it: python -m http.server --directory build/site"

lock: setup  ## Write what the images install, with digests, to deploy/locked
	$(BIN)/python -m deploy.release.lock

image:  ## Build TARGET=control, cpu or cuda on BASE=python:3.11-slim@sha256:.., as IMAGE=registry/name
	DOCKER_BUILDKIT=1 docker build --file deploy/Dockerfile --target $(TARGET) --build-arg PYTHON=$(BASE) \
		--tag offramp:$(TARGET) --tag $(IMAGE):$(VERSION)-$(TARGET) \
		$(LABEL)version=$(VERSION) $(LABEL)base.name=$(BASE) $(if $(SOURCE),$(LABEL)source=$(SOURCE)) \
		$(LABEL)revision=$$(git describe --always --dirty --abbrev=40 --exclude='*') \
		$(LABEL)created=$$(git log -1 --format=%cI) $(ARGS) .

sbom: setup  ## Write what Offramp brings along to build/offramp.cdx.json, as CycloneDX
	$(BIN)/python -m deploy.release.sbom build/offramp.cdx.json

dist: sbom  ## Build wheel, sources and SBOM into dist
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/uv build --quiet --build-constraint constraints.txt --sdist --wheel
	cp build/offramp.cdx.json dist

clean:  ## Remove what setup and the tools made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
