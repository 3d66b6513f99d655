#!/bin/bash
# Runs the images' contents with OCI runtimes, as an engine and as Kubernetes would,
# where cgroup v2 has every controller.
set -eu
cd tests/containers
../../bin/containers.test -test.timeout 10m -test.run "${RUN:-TestPod}" ${VERBOSE:+-test.v} -bin ../../bin
