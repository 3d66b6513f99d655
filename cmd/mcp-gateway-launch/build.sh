#!/bin/sh
# Builds the launcher as FILE, with the C compiler that links the daemon.
#
#   build.sh FILE
set -eu
exec "${CC:-cc}" -std=gnu11 -O2 -Wall -Wextra -Werror -ffreestanding -nostdlib -static-pie -fPIE -fstack-protector-strong -mstack-protector-guard=global \
  -fno-asynchronous-unwind-tables -Wl,-z,relro,-z,now,--build-id=none -s -o "$1" "$(dirname "$0")/launch.c"
