# Kubernetes compiles once per setting of these: another CGO_ENABLED means compiling all of it again.
export CGO_ENABLED := 0

# COMPONENTS are images; TOOLS run where people are.
COMPONENTS := evenkeel-scheduler evenkeel-controller evenkeel-announcer
TOOLS      := kubectl-evenkeel
VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
REGISTRY   ?= ghcr.io/evenkeel-io
TAG        ?= dev
KEEP       ?=
ARGS       ?=
# Labs share the machine's cores, so one at a time; unit tests run side by side.
UNIT_TIMEOUT ?= 30m
LAB_TIMEOUT  ?= 60m

LDFLAGS := -s -w -X evenkeel.io/evenkeel/api/version.stamped=$(VERSION)

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup build ## show it: a cluster of 3 nodes on this machine, 12 Services, every VIP asked (KEEP=1 leaves it up)
	KEEP=$(KEEP) go run ./test/lab/cmd/demo

.PHONY: build
build: ## compile the three programs and kubectl-evenkeel into bin/
	@hack/go-build.sh -ldflags "$(LDFLAGS)" -o bin/ $(COMPONENTS:%=./cmd/%) ./cmd/kubectl-evenkeel

.PHONY: setup
setup: ## install what labs and tests need (Debian, Ubuntu)
	@hack/setup.sh

.PHONY: test
test: root setup build control-plane ## unit tests, tests on a real control plane and in the lab, alert tests (root)
	go test -timeout $(UNIT_TIMEOUT) $$(go list ./... | grep -v '^evenkeel.io/evenkeel/test/')
	go test -count=1 -p 1 -timeout $(LAB_TIMEOUT) ./test/...
	@$(MAKE) --no-print-directory test-alerts

.PHONY: test-unit
test-unit: ## only what needs no control plane (some of it needs root)
	go test -timeout $(UNIT_TIMEOUT) $$(go list ./... | grep -v '^evenkeel.io/evenkeel/test/')

.PHONY: test-alerts
test-alerts: ## promtool's check and unit tests of manifests/alerts
	@hack/test-alerts.sh

.PHONY: bench-first
bench-first: root setup build control-plane ## measure the first slice; JSON lines
	go run ./test/perf

.PHONY: bench-failover
bench-failover: root setup build control-plane ## measure failover (hours; ARGS='-repetitions=3 -minutes=5 -only=losses' makes it short); JSON lines
	go run ./test/perf -suite=failover $(ARGS)

.PHONY: bench-handoff
bench-handoff: root setup build control-plane ## measure what planned moves do to established connections; JSON lines
	go run ./test/perf -suite=handoff -nice=10 $(ARGS)

.PHONY: bench-load
bench-load: root setup build control-plane ## measure where VIPs go by weight, capacity and traffic, and after losses; JSON lines
	go run ./test/perf -suite=load -nice=10 $(ARGS)

.PHONY: bench-rebalance
bench-rebalance: root setup build control-plane ## measure evening out (an hour; ARGS='-repetitions=3 -only=join,rounds' makes it short); JSON lines
	go run ./test/perf -suite=rebalance -nice=10 $(ARGS)

.PHONY: test-skew
test-skew: root setup build control-plane ## the end-to-end story on Kubernetes 1.34, and on kine with SQLite (not part of test)
	@hack/skew.sh

.PHONY: verify
verify: ## formatting, vet, generated files and go.mod are as they should be
	@hack/verify.sh

.PHONY: generate
generate: ## make deep copies and CRDs from api/v1alpha1
	@hack/generate.sh

.PHONY: docker
docker: ## build the three images (REGISTRY, TAG)
	@for component in $(COMPONENTS); do \
		docker build --build-arg COMPONENT=$$component --build-arg VERSION=$(VERSION) -t $(REGISTRY)/$$component:$(TAG) . || exit 1; \
	done

.PHONY: clean
clean: ## remove bin/ (never the build cache: Kubernetes would compile again)
	rm -rf bin

.PHONY: control-plane
control-plane:
	@hack/go-build.sh -o bin/labtool ./test/lab/cmd/labtool
	@bin/labtool build >/dev/null

.PHONY: root
root:
	@[ "$$(id -u)" = 0 ] || { echo 'This needs root, for network namespaces and raw sockets: sudo env "PATH=$$PATH" make $(MAKECMDGOALS)' >&2; exit 1; }
