# Everything below needs Go 1.26 and root; `make run` and `make test` install what
# else is missing.

# runc_nocriu leaves out checkpoints; osusergo and netgo keep the C library's
# name services, and with them the network, out of the daemon.
DAEMON_TAGS := runc_nocriu,osusergo,netgo

GO_BUILD := go build -trimpath -ldflags '-s -w'
GO_TEST := go test -tags $(DAEMON_TAGS)

BUF := go tool -modfile=tools/proto/go.mod buf
PROTO_CODE := proxy/grpcfront/gatewaypb

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the binaries into bin/
	CGO_ENABLED=1 $(GO_BUILD) -tags $(DAEMON_TAGS) -o bin/ ./cmd/mcp-gatewayd
	CGO_ENABLED=0 $(GO_BUILD) -o bin/ ./cmd/mcp-gateway-launch ./cmd/mcp-gateway-proxy ./cmd/mcp-gateway ./cmd/mcp-gateway-vault

.PHONY: man
man: ## make a manual page for each verb in bin/man
	@mkdir -p bin
	CGO_ENABLED=0 $(GO_BUILD) -o bin/ ./cmd/mcp-gateway
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} bin/mcp-gateway man bin/man

.PHONY: run
run: ## build, and run a gateway with one real server until Ctrl-C
	@packaging/dev/install.sh build
	@$(MAKE) --no-print-directory build
	@packaging/dev/run.sh

.PHONY: test
test: ## run every test (root; installs what is missing)
	@packaging/dev/install.sh build test
	@$(MAKE) --no-print-directory format proto-check unit arch root-test e2e

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
	$(GO_TEST) -race $$(go list -tags $(DAEMON_TAGS) ./... | grep -v /tests/) ./tests/testserver ./tests/monitoring

.PHONY: arch
arch: ## check layers, links and budgets
	$(GO_TEST) -count=1 ./tests/arch

.PHONY: root-test
root-test: ## run the tests of sandbox, daemon and network on this host's kernel (root)
	$(GO_TEST) -count=1 ./tests/sandbox ./tests/daemon ./tests/egress ./tests/secrets

.PHONY: e2e
e2e: ## run the binaries, real servers and foreign clients together (root, npm)
	$(GO_TEST) -count=1 -timeout 15m ./tests/e2e

.PHONY: conformance
conformance: ## run the official MCP conformance suite against servers in sandboxes (root, npm)
	@packaging/dev/install.sh build test
	$(GO_TEST) -count=1 -timeout 10m ./tests/conformance

.PHONY: test-vm
test-vm: ## run the sandbox tests on a machine with cgroup v2, and the units under systemd (root)
	@packaging/dev/install.sh build vm
	@$(MAKE) --no-print-directory build
	CGO_ENABLED=0 go build -o bin/ ./tests/testserver
	$(GO_TEST) -c -o bin/sandbox.test ./tests/sandbox
	$(GO_TEST) -c -o bin/daemon.test ./tests/daemon
	tests/vm/vm.sh kernel
	tests/vm/vm.sh run tests/vm/sandbox.sh
	CMDLINE=cgroup_disable=memory tests/vm/vm.sh run tests/vm/refusal.sh
	tests/vm/vm.sh systemd tests/vm/sandbox.sh
	tests/vm/vm.sh systemd tests/vm/systemd.sh

.PHONY: fuzz
fuzz: ## fuzz every parser of untrusted bytes for a minute each
	packaging/dev/fuzz.sh

.PHONY: lint
lint: ## run golangci-lint
	go tool -modfile=tools/go.mod golangci-lint run --build-tags=$(DAEMON_TAGS)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin .run
