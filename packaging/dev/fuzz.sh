#!/bin/sh
# Runs every fuzz target for FUZZTIME (default one minute) each.
set -eu
cd "$(dirname "$0")/../.."
tags=runc_nocriu,osusergo,netgo
for package in $(go list ./proxy/... ./policy/... ./runtime/config ./runtime/control ./runtime/inspect); do
  for target in $(go test -tags "$tags" -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
    echo "$package $target"
    go test -tags "$tags" -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-1m}" "$package"
  done
done
