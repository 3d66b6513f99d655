#!/bin/sh
# Runs every fuzz target for FUZZTIME (default one minute) each.
set -eu
cd "$(dirname "$0")/../.."
for package in $(go list ./proxy/... ./policy/... ./runtime/config ./runtime/control ./runtime/inspect); do
  for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
    echo "$package $target"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-1m}" "$package"
  done
done
