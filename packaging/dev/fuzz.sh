#!/bin/sh
# Runs every fuzz target for FUZZTIME (default one minute) each.
set -eu
cd "$(dirname "$0")/../.."
tags=osusergo,netgo
# Without the limit most of the minute goes into shortening inputs that are not wrong.
# tests/daemon lets the whole control protocol run, as root, against real sandboxes.
for package in $(go list -tags "$tags" ./proxy/... ./policy/... ./runtime/... ./cmd/mcp-gateway ./tests/daemon); do
  for target in $(go test -tags "$tags" -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
    echo "$package $target"
    go test -tags "$tags" -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-1m}" -fuzzminimizetime 10x "$package"
  done
done
