# Everything below needs Go 1.26 and root; `make run` and `make test` install what
# else is missing.

# Keep the C library's name services, and with them the network, out of the daemon.
DAEMON_TAGS := osusergo,netgo

VERSION := 0.1.0
BIN := bin
DIST := dist
ARCHES := amd64 arm64

# Everything is linked statically: one build runs on every distribution. The daemon
# is linked with the C compiler, so that where it is loaded is random: Go alone makes
# no such program that needs no loader. The launcher is C. For another architecture: make build GOARCH=arm64 CC=aarch64-linux-gnu-gcc
LDFLAGS := -s -w -X mcpgateway/runtime/release.version=$(VERSION)
GO_BUILD := go build -trimpath -buildvcs=false
GO_TEST := go test -tags $(DAEMON_TAGS)

BUF := go tool -modfile=tools/proto/go.mod buf
PROTO_CODE := proxy/grpcfront/gatewaypb

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the binaries into bin/
	CGO_ENABLED=1 $(GO_BUILD) -buildmode=pie -ldflags '$(LDFLAGS) -linkmode external -extldflags "-static-pie"' -tags $(DAEMON_TAGS) -o $(BIN)/ ./cmd/mcp-gatewayd
	cmd/mcp-gateway-launch/build.sh $(BIN)/mcp-gateway-launch
	CGO_ENABLED=0 $(GO_BUILD) -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/mcp-gateway-proxy ./cmd/mcp-gateway ./cmd/mcp-gateway-vault

.PHONY: man
man: ## make a manual page for each verb in bin/man
	CGO_ENABLED=0 $(GO_BUILD) -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/mcp-gateway
	SOURCE_DATE_EPOCH=$$(packaging/epoch.sh) $(BIN)/mcp-gateway man $(BIN)/man

.PHONY: run
run: ## build, and run a gateway with one real server until Ctrl-C
	@packaging/dev/install.sh build
	@$(MAKE) --no-print-directory build
	@packaging/dev/run.sh

.PHONY: test
test: ## run every test (root; installs what is missing)
	@packaging/dev/install.sh build test
	@$(MAKE) --no-print-directory format proto-check unit arch kubernetes-test root-test e2e

.PHONY: format
format: ## check formatting and vet
	@unformatted=$$(gofmt -l cmd images policy proxy runtime sandbox tests); \
	  [ -z "$$unformatted" ] || { echo "gofmt these files: $$unformatted" >&2; exit 1; }
	go vet -tags $(DAEMON_TAGS) ./...

.PHONY: proto
proto: ## make the code of proto/ anew
	$(BUF) format -w
	$(BUF) generate

.PHONY: proto-check
proto-check: ## lint proto/, and check that its code is up to date
	$(BUF) lint
	$(BUF) format --diff --exit-code
	@made=$$(mktemp -d) && trap 'rm -rf "$$made"' EXIT && $(BUF) generate --output "$$made" && \
	  diff -r "$$made/$(PROTO_CODE)" $(PROTO_CODE) || { echo "$(PROTO_CODE) is not what proto/ says: run make proto" >&2; exit 1; }

.PHONY: dashboards
dashboards: ## make the dashboards of packaging/grafana anew
	$(GO_TEST) -count=1 ./tests/monitoring -run TestDashboards -update

.PHONY: unit
unit: ## run the tests that need nothing of the host
	$(GO_TEST) -race $$(go list -tags $(DAEMON_TAGS) ./... | grep -v /tests/) ./tests/testserver ./tests/monitoring ./tests/bench ./tests/echo ./tests/traffic ./tests/procs

.PHONY: arch
arch: ## check layers, links and budgets, and what systemd says of the units
	$(GO_TEST) -count=1 ./tests/arch ./tests/units

.PHONY: root-test
root-test: ## run the tests of sandbox, daemon and network on this host's kernel (root)
	$(GO_TEST) -count=1 ./tests/sandbox ./tests/daemon ./tests/egress ./tests/secrets
	$(GO_TEST) -count=1 -skip TestPod ./tests/containers

.PHONY: e2e
e2e: ## run the binaries, real servers and foreign clients together (root, npm)
	$(GO_TEST) -count=1 -timeout 15m ./tests/e2e

.PHONY: conformance
conformance: ## run the official MCP conformance suite against servers in sandboxes (root, npm)
	@packaging/dev/install.sh build test
	$(GO_TEST) -count=1 -timeout 10m ./tests/conformance

.PHONY: bench
bench: ## measure the gateway beside what it is compared with (root); OPTIONS=-short is quick
	@packaging/dev/install.sh build bench
	@$(MAKE) --no-print-directory build
	go run -tags $(DAEMON_TAGS) ./tests/bench $(OPTIONS)

.PHONY: test-vm
test-vm: ## run the sandbox tests on a machine with cgroup v2, and the packages and units under systemd (root)
	@packaging/dev/install.sh build package vm
	@$(MAKE) --no-print-directory build
	CGO_ENABLED=0 go build -o bin/ ./tests/testserver ./tests/load
	$(GO_TEST) -c -o bin/sandbox.test ./tests/sandbox
	$(GO_TEST) -c -o bin/daemon.test ./tests/daemon
	CGO_ENABLED=0 $(GO_TEST) -c -o bin/containers.test ./tests/containers
	$(MAKE) --no-print-directory package ARCHES=amd64
	$(MAKE) --no-print-directory package ARCHES=amd64 VERSION=9.9.9 DIST=$(DIST)/next
	tests/vm/vm.sh kernel
	@$(MAKE) --no-print-directory -j2 --output-sync=target $(VM_RUNS)

# Machines of one processor each, and so two at a time.
VM_RUNS := run/sandbox systemd/sandbox systemd/deb systemd/rpm systemd/systemd systemd/activation systemd/ports systemd/apparmor run/containers run/refusal
.PHONY: $(VM_RUNS)
$(VM_RUNS):
	tests/vm/vm.sh $(@D) tests/vm/$(@F).sh
run/refusal: export CMDLINE := cgroup_disable=memory

.PHONY: kubernetes
kubernetes: ## print the manifests of OVERLAY= (or those of kubectl apply -k deployment/kubernetes), if they are valid
	@go -C tests/kubernetes run . ../../packaging/kubernetes/$(if $(OVERLAY),overlays/$(OVERLAY))

# Without vet, which would look at all of Kubernetes first.
.PHONY: kubernetes-test
kubernetes-test: ## judge packaging/kubernetes by Kubernetes' own validation (root)
	go -C tests/kubernetes test -vet=off -ldflags='-s -w' -count=1 .

.PHONY: kubernetes-rules
kubernetes-rules: ## make the rules of packaging/kubernetes of those of packaging/prometheus
	go -C tests/kubernetes test -vet=off -count=1 -run TestRulesAreThoseOfPrometheus . -update

.PHONY: package
package: ## make deb and rpm packages for x86-64 and arm64 in dist/
	@packaging/dev/install.sh build package
	VERSION=$(VERSION) DIST=$(DIST) packaging/package.sh $(ARCHES)

.PHONY: package-test
package-test: package ## make the packages, check what is in them, and that a second build is the same
	$(GO_TEST) -count=1 -timeout 20m ./tests/packaging

.PHONY: docker-build
docker-build: ## build the images mcp-gateway/daemon and mcp-gateway/proxy (docker, podman or buildah)
	@packaging/docker/build.sh $(VERSION) $(OPTIONS)

.PHONY: fuzz
fuzz: ## fuzz every parser of untrusted bytes for a minute each
	packaging/dev/fuzz.sh

.PHONY: lint
lint: ## run golangci-lint
	go tool -modfile=tools/go.mod golangci-lint run --build-tags=$(DAEMON_TAGS)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist .run
