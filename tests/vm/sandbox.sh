#!/bin/bash
# Runs the tests of sandbox and daemon where cgroup v2 has every controller.
set -eu
grep -q memory /sys/fs/cgroup/cgroup.controllers || { echo "this machine has no cgroup v2 memory controller" >&2; exit 1; }
said=$(bin/mcp-gateway doctor) || { echo "doctor finds something missing: $said" >&2; exit 1; }
grep -q '  ok .*memory controller .*version 2, at /sys/fs/cgroup' <<<"$said" || { echo "doctor does not find cgroup v2: $said" >&2; exit 1; }
for package in sandbox daemon; do
  echo "tests/$package on $(uname -r), cgroup v2, first process: $(cat /proc/1/comm)"
  (cd "tests/$package" && "$OLDPWD/bin/$package.test" -test.timeout 10m)
done
