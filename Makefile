# make run and make test work on a fresh Debian 12 with git, make and root.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# Debian's own interpreter: bcc's Python package is built for it.
PYTHON ?= /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin
OBJECT := tracer/_objects/tracer.bpf.o
BPF_SOURCES := $(wildcard bpf/*.c bpf/*.h)
CLANG ?= clang
# <asm/types.h> is in the folder of the machine's own architecture.
BPF_INCLUDES := -I bpf -idirafter /usr/include/$(shell uname -m)-linux-gnu

PACKAGES := clang libbpf1 libbpf-dev python3-venv python3-bpfcc gcc libc6-dev
# Used by the tests only: runtimes, inits, and languages whose programs leave zombies in
# practice. COMMAND=PACKAGE is installed only where that command is missing.
TEST_PACKAGES := runc tini dumb-init util-linux busybox-static openssl procps perl \
	node=nodejs javac=default-jdk-headless

# Emulated processors are slow: children that are reaped in time take longer there.
CONFORM := env TRACER_CONFORMANCE_MIN_AGE=2 python3 -m tests.conformance

export PIP_DISABLE_PIP_VERSION_CHECK := 1

# One lock, two files: what the agent needs, and the same with what develops and tests it.
LOCK := build/lock/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 \
	--generate-hashes --custom-compile-command 'make lock'
# make lock UPGRADE=--upgrade takes the newest releases that pyproject.toml allows.
UPGRADE ?=

.PHONY: help setup run demo test lint layers format lock picture bench image test-image test-kernels bpf clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 18

setup: $(VENV)/.ready $(OBJECT) ## install and build everything; a second run does nothing

run: setup ## show this machine's zombies live, until Ctrl-C
	$(BIN)/tracer --follow

demo: setup ## show the live view while an emulator makes and reaps zombies
	deploy/demo $(BIN)/tracer

test: $(VENV)/.ready-test $(OBJECT) ## run the tests
	$(BIN)/pytest

lint: $(VENV)/.ready ## check style, types and the layers of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --cache-dir build/import-linter

layers: $(VENV)/.ready ## count modules, layers and dependencies
	$(BIN)/python tests/layers.py

format: $(VENV)/.ready ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## write requirements.txt and requirements-dev.txt from pyproject.toml
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet uv==0.13.9
	$(LOCK) $(UPGRADE) --output-file requirements.txt pyproject.toml
	$(LOCK) $(UPGRADE) --output-file requirements-dev.txt --constraint requirements.txt --extra dev pyproject.toml

picture: setup ## draw the README's picture of the live view from a real run
	$(BIN)/python docs/make_picture.py

bench: setup ## measure the cost on this machine, next to the alternatives
	$(BIN)/python bench/run.py

image: setup ## build the container images with buildah, also as files in build/image/
	@deploy/install-packages buildah runc debootstrap
	deploy/build-image --archive build/image

test-image: image ## run the image with exactly the manifest's permissions
	tests/container/run

test-kernels: setup ## run the conformance suite on Debian's kernels, 5.10 to the newest, in QEMU
	@deploy/install-packages qemu-system-x86 cpio busybox-static
	tests/kernels/run --output build/kernels -- $(CONFORM) --source core --source proc --json
	tests/kernels/run --output build/kernels --source bcc -- $(CONFORM) --source bcc --json
	python3 tests/kernels/matrix.py build/kernels

bpf: $(OBJECT) ## build the BPF object

clean: ## remove what was built
	rm -rf $(VENV) $(OBJECT) build *.egg-info

$(VENV)/.apt: Makefile
	@mkdir -p $(VENV)
	@deploy/install-packages $(PACKAGES)
	@touch $@

$(VENV)/.apt-test: Makefile | $(VENV)/.apt
	@deploy/install-packages $(TEST_PACKAGES)
	@touch $@

$(VENV)/.ready: pyproject.toml requirements-dev.txt $(VENV)/.apt
	$(PYTHON) -m venv --system-site-packages $(VENV)
	$(BIN)/pip install --quiet --require-hashes --requirement requirements-dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready $(VENV)/.apt-test
	@touch $@

$(OBJECT): $(BPF_SOURCES) | $(VENV)/.apt
	@mkdir -p $(@D)
	$(CLANG) -target bpf -O2 -g -Wall -Werror -mcpu=v2 $(BPF_INCLUDES) -c bpf/tracer.bpf.c -o $@
