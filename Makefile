# Gatehouse. `make run` shows the whole system on this machine, `make test` proves it.
GO      ?= go
export PATH := $(PATH):/usr/sbin:/sbin
BIN     := $(CURDIR)/bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BUILT   ?= $(shell git log -1 --format=%ct 2>/dev/null)
LDFLAGS := -X main.version=$(VERSION) -X main.built=$(BUILT)
LINT    := $(shell $(GO) env GOPATH)/bin/golangci-lint
LINT_VERSION := v2.15.0

# What the project needs from Debian, as package:command; a part that cannot be had fails by name.
DEBIAN := mosquitto:mosquitto mosquitto-clients:mosquitto_pub systemd:systemd-socket-activate chromium:chromium dpkg-dev:dpkg-deb

.PHONY: help run smoke test race lint check fuzz fuzz-authz build deps deb appliance bench-authz bench-once clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: deps build ## the whole system on this machine, live, until Ctrl-C
	@$(BIN)/demo run --bin $(BIN) --dir $(CURDIR)/run $(RUNFLAGS)

smoke: deps build ## the same, unattended: at most 60 s, asserting, exit code
	@$(BIN)/demo smoke --bin $(BIN)

test: deps build ## every test, without the race detector
	$(GO) test ./...

race: deps build ## every test under the race detector
	$(GO) test -race -timeout 30m ./...

lint: $(LINT) ## golangci-lint with the project's configuration
	$(LINT) run ./...

check: test lint race bench-once smoke ## what CI runs

FUZZTIME ?= 10s
fuzz: ## every fuzz target for FUZZTIME
	@set -e; for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p 2>/dev/null | grep ^Fuzz || true); do \
	    echo "== $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p; done; done

build: ## the binaries, into bin/
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/gatehoused ./cmd/gatehousectl ./cmd/managementd ./cmd/internal/demo

deps: ## Debian packages and Go modules, where they are missing
	@missing=; for pair in $(DEBIAN); do command -v $${pair#*:} >/dev/null 2>&1 || missing="$$missing $${pair%%:*}"; done; \
	if [ -n "$$missing" ]; then \
	  echo "deps: installing$$missing"; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -q >/dev/null && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing >/dev/null; \
	fi; \
	for pair in $(DEBIAN); do command -v $${pair#*:} >/dev/null 2>&1 || { echo "deps: $${pair#*:} is missing and the Debian package $${pair%%:*} did not bring it" >&2; exit 1; }; done
	@$(GO) mod download

$(LINT):
	$(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

bench-authz: ## the authorization engine against its bars and its peers (CHECK=1: verdicts; ends with 1 for a miss, 75 for too much noise)
	@mkdir -p $(BIN)
	@cd authz/bench && $(GO) build -o $(BIN)/bench-authz . && $(BIN)/bench-authz $(BENCHFLAGS)

bench-once: deps ## every benchmark once: shows that it runs, measures nothing
	$(GO) test -run '^$$' -bench . -benchtime 1x ./...
	$(MAKE) --no-print-directory bench-authz BENCHFLAGS='-quick -peers=false' CHECK=

fuzz-authz: ## ten million random decisions, engine against oracle
	AUTHZ_DECISIONS=10000000 $(GO) test -run TestEngineIsTheOracle -timeout 30m ./authz/authztest

deb: deps ## the Debian package, into dist/
	packaging/deb.sh --version '$(VERSION)' --out $(CURDIR)/dist

appliance: ## as root: the package on a Debian of its own under systemd, asserting; see packaging/README.md
	packaging/appliance.sh --version '$(VERSION)'

clean: ## what was built and what `make run` left
	rm -rf $(BIN) $(CURDIR)/run $(CURDIR)/dist
