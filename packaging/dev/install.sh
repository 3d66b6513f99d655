#!/bin/sh
# Installs the host's packages that are missing, and only those.
#
#   install.sh build        what building needs
#   install.sh build test   and what testing needs
#   install.sh build vm     and what the virtual machine of the tests needs
#   install.sh build package   and what packages and their checks need
#   install.sh build bench   and what the gateway is compared with
set -eu

# What must be there | Debian's package | Fedora's package
build='
command:gcc              | gcc        | gcc
file:/usr/include/stdio.h | libc6-dev | glibc-devel
command:make             | make       | make
command:curl             | curl       | curl
'
test='
command:node             | nodejs     | nodejs
command:npm              | npm        | nodejs-npm
command:git              | git        | git
command:bash             | bash       | bash
file:/usr/bin/python3    | python3    | python3
command:systemd-analyze  | systemd    | systemd
command:pg_isready       | postgresql-client | postgresql
postgres:                | postgresql | postgresql-server
command:groff            | groff-base | groff-base
command:zsh              | zsh        | zsh
command:fish             | fish       | fish
command:prometheus       | prometheus | golang-github-prometheus
command:promtool         | prometheus | golang-github-prometheus
'
vm='
file:/lib/systemd/systemd | systemd   | systemd
command:dbus-daemon      | dbus       | dbus-daemon
command:ip               | iproute2   | iproute
command:apparmor_parser  | apparmor   | apparmor-parser
command:aa-exec          | apparmor   | apparmor-utils
file:/usr/bin/python3    | python3    | python3
command:runc             | runc       | runc
command:crun             | crun       | crun
'
package='
command:aarch64-linux-gnu-gcc | gcc-aarch64-linux-gnu | gcc-aarch64-linux-gnu
file:/usr/aarch64-linux-gnu/include/stdio.h | libc6-dev-arm64-cross | sysroot-aarch64-fc43-glibc
command:git              | git        | git
command:groff            | groff-base | groff-base
command:dpkg-deb         | dpkg       | dpkg
command:lintian          | lintian    | lintian
command:rpm              | rpm        | rpm
command:rpmlint          | rpmlint    | rpmlint
'

bench='
command:bwrap            | bubblewrap | bubblewrap
'

there() {
  case $1 in
  command:*) command -v "${1#command:}" >/dev/null ;;
  file:*) [ -e "${1#file:}" ] ;;
  postgres:) command -v postgres >/dev/null || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 ;;
  esac
}

if command -v apt-get >/dev/null; then
  column=2
elif command -v dnf >/dev/null; then
  column=3
else
  column=0
fi

missing=
for set in "$@"; do
  case $set in
  build) list=$build ;;
  test) list=$test ;;
  vm) list=$vm ;;
  package) list=$package ;;
  bench) list=$bench ;;
  *) echo "install.sh: unknown set $set" >&2; exit 2 ;;
  esac
  while IFS='|' read -r what debian fedora; do
    what=$(echo $what)
    [ -n "$what" ] && ! there "$what" || continue
    case $column in
    2) missing="$missing $(echo $debian)" ;;
    3) missing="$missing $(echo $fedora)" ;;
    *) echo "$what is missing: install it (neither apt-get nor dnf is here)" >&2; exit 1 ;;
    esac
  done <<LIST
$list
LIST
done

case $missing in
*postgresql*)
  # The tests start servers of their own: no cluster of the host is made or started.
  if [ $column = 2 ] && [ "$(id -u)" = 0 ] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  fi
  ;;
esac

if [ -n "$missing" ]; then
  echo "installing:$missing"
  if [ "$(id -u)" != 0 ]; then
    echo "run as root, or install them yourself" >&2
    exit 1
  fi
  if [ $column = 2 ]; then
    apt-get update -qq
    # The programs are wanted, not the services that some packages start.
    own_policy=
    if [ ! -e /usr/sbin/policy-rc.d ]; then
      own_policy=/usr/sbin/policy-rc.d
      trap 'rm -f "$own_policy"' EXIT
      trap 'exit 1' INT TERM
      printf '#!/bin/sh\nexit 101\n' >"$own_policy"
      chmod 755 "$own_policy"
    fi
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    [ -z "$own_policy" ] || rm -f "$own_policy"
    case "$missing " in
    *" prometheus "*) systemctl disable --quiet prometheus.service >/dev/null 2>&1 || true ;;
    esac
  else
    # shellcheck disable=SC2086
    dnf install -y -q $missing
  fi
fi

case " $* " in
*" test "*)
  if [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 18 ]; then
    echo "Node $(node --version) is too old for the MCP server of the tests: install Node 18 or newer (https://nodejs.org)" >&2
    exit 1
  fi
  ;;
esac

if ! command -v go >/dev/null; then
  echo "Go is missing: install Go 1.26 or newer (https://go.dev/doc/install)" >&2
  exit 1
fi
