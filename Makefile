# Gatehouse. `make run` shows the whole system on this machine, `make test` proves it.
GO      ?= go
export PATH := $(PATH):/usr/sbin:/sbin
BIN     := $(CURDIR)/bin
VERSION ?= $(shell packaging/version.sh 2>/dev/null || cat VERSION)
# A package takes its version from packaging/version.sh itself, which fails where git cannot tell.
PACKAGED := $(if $(filter-out file undefined,$(origin VERSION)),--version '$(VERSION)')
BUILT   ?= $(shell git log -1 --format=%ct 2>/dev/null)
LDFLAGS := -X main.version=$(VERSION) -X main.built=$(BUILT)
LINT    := $(shell $(GO) env GOPATH)/bin/golangci-lint
LINT_VERSION := v2.15.0

# What the project needs from Debian, as package:command; a part that cannot be had fails by name.
# The tour of `make run` is written with mosquitto's clients and curl; the tests need the rest as well.
DEBIAN_RUN  := mosquitto-clients:mosquitto_pub curl:curl
DEBIAN_CLIENTS := $(DEBIAN_RUN) azure-cli:az nodejs:node npm:npm
DEBIAN_TEST := $(DEBIAN_RUN) mosquitto:mosquitto systemd:systemd-socket-activate chromium:chromium dpkg-dev:dpkg-deb

.PHONY: help run smoke smoke-mend test power torture mutants race lint check fuzz fuzz-authz build deps deps-run modules deb appliance bench-authz bench-broker bench-crowd bench-memory bench-revoke bench-upstream bench-once lines vulncheck release-check docs clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: deps-run build ## the whole system on this machine, live, until Ctrl-C
	@$(BIN)/demo run --bin $(BIN) --dir $(CURDIR)/run $(RUNFLAGS)

smoke: deps-run build ## the same, unattended: at most 60 s, asserting, exit code
	@$(BIN)/demo smoke --bin $(BIN)

smoke-mend: deps-run build ## a listener whose certificate is mended while the daemon runs, asserting: about 15 s
	@$(BIN)/demo mend --bin $(BIN)

test: deps build ## every test, without the race detector
	$(GO) test ./...

race: deps build ## every test under the race detector
	$(GO) test -race -timeout 30m ./...

.PHONY: clients
MSAL_NODE := $(CURDIR)/.cache/clients
clients: modules ## az, MSAL for Python and Node.js, and azidentity sign in at the development issuer by every flow (installs them)
	@packaging/need.sh $(DEBIAN_CLIENTS)
	@mkdir -p $(MSAL_NODE) && npm install --silent --no-audit --no-fund --ignore-scripts --no-save --prefix $(MSAL_NODE) @azure/msal-node@7.2.3
	CLIENTS=$(MSAL_NODE) $(GO) test -count=1 -timeout 30m -v ./cmd/internal/clients

lint: $(LINT) ## golangci-lint with the project's configuration
	$(LINT) run ./...

check: test lint race bench-once smoke ## what has to pass before a change lands, on a machine where nothing was installed by hand

CUTS ?= 200
power: deps ## CUTS power cuts below the store's file system (`make test` does 10); takes /dev/fuse, and root or fusermount3
	CUTS=$(CUTS) $(GO) test -count=1 -timeout 2h -run PowerCut -v ./gateway/store

MINUTES ?= 0
KILLS ?= 200
torture: deps ## at least KILLS kills of a gateway and MINUTES of them, with every number reconciled (`make test` does 20)
	KILLS=$(KILLS) MINUTES=$(MINUTES) $(GO) test -count=1 -timeout 12h -run TestTorture -v ./cmd/gatehoused

mutants: modules ## one line of the program broken at a time, as cmd/internal/mutants/mutants.txt says: its tests have to fail (ONLY=regexp for some)
	@mkdir -p $(BIN)
	@$(GO) build -o $(BIN)/mutants ./cmd/internal/mutants
	@$(BIN)/mutants $(if $(ONLY),-only '$(ONLY)')

FUZZTIME ?= 10s
fuzz: ## every fuzz target for FUZZTIME
	@set -e; for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p 2>/dev/null | grep ^Fuzz || true); do \
	    echo "== $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p; done; done

build: ## the binaries, into bin/
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/gatehoused ./cmd/gatehousectl ./cmd/managementd ./cmd/internal/demo

deps: modules ## what the tests need: Debian packages and Go modules, where they are missing
	@packaging/need.sh $(DEBIAN_TEST)

deps-run: modules ## what `make run` needs, and no more
	@packaging/need.sh $(DEBIAN_RUN)

modules:
	@command -v $(GO) >/dev/null || { echo "make: $(GO) is missing: install Go (go.mod names the version) or say where it is: make GO=/path/to/go" >&2; exit 1; }
	@$(GO) mod download

$(LINT):
	$(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

bench-authz: ## the authorization engine against its bars and its peers (CHECK=1: verdicts; ends with 1 for a miss, 75 for too much noise)
	@mkdir -p $(BIN)
	@cd authz/bench && $(GO) build -o $(BIN)/bench-authz . && $(BIN)/bench-authz $(BENCHFLAGS)

bench-broker: deps build ## the broker against mosquitto and the bare library, by CPU a message (CHECK=1: verdicts, as bench-authz)
	@$(GO) build -trimpath -o $(BIN)/bench-broker ./cmd/internal/bench
	@$(GO) build -trimpath -o $(BIN)/bench-mochi ./cmd/internal/bench/mochi
	@$(BIN)/bench-broker -bin $(BIN) $(BENCHFLAGS)

bench-memory: modules ## what the daemon keeps with 10,000 devices, and for each idle client (CHECK=1: verdicts, as bench-authz)
	@$(GO) build -trimpath -o $(BIN)/ ./cmd/gatehoused ./cmd/managementd
	@$(GO) build -trimpath -o $(BIN)/bench-memory ./cmd/internal/bench/memory
	@$(BIN)/bench-memory -bin $(BIN) $(BENCHFLAGS)

bench-crowd: modules ## how long good devices need to get in beside 1,000 silent connections a second (CHECK=1: verdicts, as bench-authz)
	@$(GO) build -trimpath -o $(BIN)/ ./cmd/gatehoused ./cmd/managementd
	@$(GO) build -trimpath -o $(BIN)/bench-crowd ./cmd/internal/bench/crowd
	@$(BIN)/bench-crowd -bin $(BIN) $(BENCHFLAGS)

bench-revoke: modules ## how long a live session outlives the assignment it holds its right by (CHECK=1: verdicts, as bench-authz)
	@$(GO) build -trimpath -o $(BIN)/ ./cmd/gatehoused ./cmd/managementd
	@$(GO) build -trimpath -o $(BIN)/bench-revoke ./cmd/internal/bench/revoke
	@$(BIN)/bench-revoke -bin $(BIN) $(BENCHFLAGS)

bench-upstream: deps ## the way upstream: durable accepts beside a mosquitto bridge, backlogs, the disk (CHECK=1: verdicts, as bench-authz)
	@$(GO) build -trimpath -o $(BIN)/ ./cmd/gatehoused ./cmd/managementd
	@$(GO) build -trimpath -o $(BIN)/bench-upstream ./cmd/internal/bench/upstream
	@$(BIN)/bench-upstream -bin $(BIN) $(BENCHFLAGS)

bench-once: deps ## every benchmark once: shows that it runs, measures nothing
	$(GO) test -run '^$$' -bench . -benchtime 1x ./...
	$(MAKE) --no-print-directory bench-authz BENCHFLAGS='-quick -peers=false' CHECK=

fuzz-authz: ## ten million random decisions, engine against oracle
	AUTHZ_DECISIONS=10000000 $(GO) test -run TestEngineIsTheOracle -timeout 30m ./authz/authztest

deb: deps ## the Debian package, into dist/
	packaging/deb.sh $(PACKAGED) --out $(CURDIR)/dist

appliance: ## as root: the package on a Debian of its own under systemd, asserting; see packaging/README.md
	packaging/appliance.sh $(PACKAGED)

lines: ## non-test lines of Go, a row for each package
	@$(GO) list -f '{{.Dir}} {{range .GoFiles}}{{.}} {{end}}' ./... | while read -r dir files; do \
	  [ -z "$$files" ] || printf '%6d  %s\n' "$$(cd $$dir && cat $$files | wc -l)" "$${dir#$(CURDIR)/}"; done | sort -rn

VULNCHECK_VERSION := v1.9.0
vulncheck: ## known vulnerabilities in what the programs call; asks vuln.go.dev, so that it needs the network
	$(GO) run golang.org/x/vuln/cmd/govulncheck@$(VULNCHECK_VERSION) ./...

release-check: ## what has to be true before a version is tagged
	@packaging/release-check.sh

docs: ## reference pages, JSON Schemas and example files, from the settings of the programs
	$(GO) generate ./cmd/gatehoused ./cmd/managementd

clean: ## what was built and what `make run` left
	rm -rf $(BIN) $(CURDIR)/run $(CURDIR)/dist
