# What CI runs, and nothing else: a green machine means a green CI.
# `make` alone lists the targets.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-print-directory --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Tools are pinned by exact version and installed into ./bin; they never enter
# go.mod, so that a user's module graph has no linter in it.
GOLANGCI_VERSION := v2.15.0
BUF_VERSION      := v1.75.0
BIN              := $(CURDIR)/bin
GOLANGCI         := $(BIN)/golangci-lint
BUF              := $(BIN)/buf

# Set these on the command line: make fuzz FUZZTIME=10m PKG=./vpn/wgkey
PKG       ?= ./...
FUZZTIME  ?= 60s
BENCH     ?= .
BENCHTIME ?= 1s
SCENARIOS ?=
SERIES    ?=
RUNS      ?= 100
SEEDS     ?= 300
FIRST     ?= 1
LAB       := go run ./internal/testnet/lab

# HOLDFAST_REQUIRE=all in the environment turns every skip into a failure.

##@ Every day

.PHONY: help
help: ## this list
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: test
test: prepare ## install what is missing, then every tier: unit, suites, namespaces, simulation, lab, kernel
	@.ci/stage unit 10 $(MAKE) unit
	@.ci/stage sim 3 $(MAKE) sim
	@.ci/stage lab 20 $(MAKE) lab
	@.ci/stage kernel 20 $(MAKE) kernel

.PHONY: unit
unit: ## properties, bubbles, suites and network tests of $(PKG)
	go test -timeout 20m $(PKG)

.PHONY: sim
sim: ## the whole system simulated: SEEDS (300) histories of random faults, from FIRST (1) on
	GOGC=400 go test -timeout 60m ./internal/sim -run '^TestSim$$' -seeds $(SEEDS) -first $(FIRST)

.PHONY: lab
lab: ## scenarios in network namespaces (SCENARIOS="drift no-reset", default all)
	$(LAB) -json $(SCENARIOS)

.PHONY: kernel
kernel: ## the same scenarios on kernel WireGuard: this kernel's, else that of a small VM
	@.ci/prepare
	$(LAB) -kernel -json $(SCENARIOS)
	$(if $(SCENARIOS),,$(LAB) -kernel -json -delay 120ms floating-address no-reset)

.PHONY: slo
slo: ## measure failover RUNS (100) times a series; all figures and the machine's facts go into slo.json
	@.ci/prepare
	go run ./internal/testnet/slo -runs $(RUNS) -o slo.json $(SERIES)

.PHONY: quickstart
quickstart: ## two gateways, a client, a failover (examples/quickstart)
	go run ./examples/quickstart

.PHONY: race
race: ## all tests with the race detector, but for those that it does not reach, in a machine
	@.ci/prepare race
	go test -race -short -skip '^TestOnKernel$$' -timeout 20m $(PKG)

.PHONY: fuzz
fuzz: ## each fuzz test for FUZZTIME (60s), one after another
	@.ci/fuzz $(FUZZTIME) $(PKG)

.PHONY: bench
bench: ## all benchmarks (BENCH=regexp)
	go test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem $(PKG)

##@ Before a commit

.PHONY: check
check: ## all that CI runs, in its order; a skip is a failure
	@.ci/run

.PHONY: generate
generate: messages ## write generated files and tables again
	go generate ./...

# The two plugins are tools of go.mod, at the versions of the runtimes. It needs no
# network. Where a file's code went before it was moved or removed is cleared first.
.PHONY: messages
messages: $(BIN)/buf-$(BUF_VERSION) ## messages of the wire only: check, then generate their code
	@$(BUF) lint
	@$(BUF) format --diff --exit-code proto
	@find . -path '*/internal/pb/*.go' -not -path './bin/*' -delete
	@$(BUF) generate

.PHONY: fresh
fresh: ## fail when generating would change a file
	@.ci/fresh

.PHONY: fmt
fmt: ## fail when gofmt would change a file
	@out=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$out" ]; then echo "not gofmt-ed (gofmt -w does it):"; echo "$$out"; exit 1; fi

.PHONY: tidy
tidy: ## fail when go.mod or go.sum are not tidy
	go mod tidy -diff

.PHONY: vet
vet: ## go vet, also for systems other than Linux
	go vet ./...
	GOOS=darwin go vet ./...

.PHONY: lint
lint: tools ## golangci-lint with .golangci.yml
	$(GOLANGCI) run $(PKG)

##@ The machine

.PHONY: prepare
prepare: ## install what the tests need and the machine lacks (apt, as root)
	@.ci/prepare

.PHONY: tools
tools: $(BIN)/buf-$(BUF_VERSION) ## install pinned tools into ./bin
	@if [ "$$($(GOLANGCI) version --short 2>/dev/null || true)" != "$(GOLANGCI_VERSION:v%=%)" ]; then \
	  echo "installing golangci-lint $(GOLANGCI_VERSION) into ./bin"; \
	  GOBIN=$(BIN) GOFLAGS= go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION); \
	fi

# The name of this empty file says which version is installed. Cold, about 90 s.
$(BIN)/buf-$(BUF_VERSION):
	@echo "installing buf $(BUF_VERSION) into ./bin"
	@mkdir -p $(BIN); rm -f $(BIN)/buf-*
	@GOBIN=$(BIN) GOFLAGS= go install github.com/bufbuild/buf/cmd/buf@$(BUF_VERSION)
	@touch $@

.PHONY: clean
clean: ## remove ./bin, caches and what tests leave in the tree
	rm -rf bin .cache
	find . -name '*.test' -type f -delete
