# Shared by deb.sh and rpm.sh, which install a package, upgrade it and remove it: what is
# the same in between. Sourced by bash, in the checkout, as root on a machine with systemd.

fail() { echo "FAIL: $*" >&2; journalctl --no-pager -u 'mcp-gateway*' | tail -n 40 >&2; exit 1; }

config=/etc/mcp-gateway/mcp-gateway.yaml
sockets=(mcp-gatewayd.socket mcp-gateway-proxy.socket mcp-gateway-proxy-admin.socket mcp-gateway-proxy-operator.socket)

# What there is where the gateway, and scripts of packages, put files, and who there is.
# What those who change users or packages keep for themselves does not count. Not all of
# /usr: this machine keeps open on its host each file that it has looked at.
snapshot() {
  {
    find /etc /opt /srv /run /var/log /var/cache/apparmor /var/lib/systemd /usr/lib/systemd/system -xdev \( -path /var/log/journal \
      -o -path /run/systemd -o -path /run/log -o -path /run/udev \) -prune -o -print
    find /var/lib -xdev -maxdepth 1
    find /usr -xdev -maxdepth 2
  } | grep -vE "^/etc/(passwd|group|shadow|gshadow|subuid|subgid)-$|^/etc/\.pwd\.lock$|^/var/log/dpkg\.log$|^$rpmdb|^/run/[a-z.0-9]*$" | LC_ALL=C sort
  getent passwd
  getent group
}

# None of the files of a list is there.
check_gone() {
  local file
  while read -r file; do
    [ ! -f "$file" ] || fail "$file is left"
  done <"$1"
}

rest() { curl -sS -m 60 "http://127.0.0.1:8080/api/v1/$1" -H "X-API-Key: $key" "${@:2}"; }
call() { rest "servers/test/tools/$1" --json "$2" "${@:3}"; }

# As installed, nothing runs, and nothing but loopback is listened to.
check_fresh() {
  local unit
  for unit in "${sockets[@]}"; do
    systemctl is-active --quiet "$unit" || fail "$unit is $(systemctl is-active "$unit")"
    systemctl is-enabled --quiet "$unit" || fail "$unit is $(systemctl is-enabled "$unit")"
  done
  for unit in mcp-gatewayd mcp-gateway-proxy; do
    systemctl is-active --quiet $unit && fail "$unit runs, and nobody has connected"
  done
  mcp-gateway check $config >/run/checked 2>&1 || fail "the default configuration: $(cat /run/checked)"
  # 1F90 is 8080; anything but 0100007F would be another host's.
  grep -qE '^ *[0-9]+: 0100007F:1F90 .* 0A ' /proc/net/tcp || fail "nobody listens at 127.0.0.1:8080"
  grep -E '^ *[0-9]+: [0-9A-F]+:1F9[0-4] .* 0A ' /proc/net/tcp | grep -v ' 0100007F:' && fail "a port is open to other hosts"
  grep -E '^ *[0-9]+: [0-9A-F]+:1F9[0-4] .* 0A ' /proc/net/tcp6 && fail "a port is open by IPv6"
  [ "$(stat -c '%U %a' /var/lib/mcp-gateway-proxy)" = "mcp-gateway 700" ] || fail "/var/lib/mcp-gateway-proxy is $(stat -c '%U %a' /var/lib/mcp-gateway-proxy)"
  [ "$(curl -s -m 60 -o /dev/null -w '%{http_code}' http://127.0.0.1:8080/mcp)" = 401 ] || fail "a client without a key was not refused"
  echo "ok: sockets listen on loopback, nothing ran, and a key is needed"
  systemctl stop mcp-gateway-proxy mcp-gatewayd
}

# An administrator's first server, and the first connection.
use_gateway() {
  mkdir -p /opt/testserver
  cp bin/testserver /opt/testserver/
  sed -i '/^servers:/,$d' $config
  cat >>$config <<'YAML'
servers: # the administrator's
  test: {command: /opt/testserver/testserver, mounts: [/opt/testserver], timeout: 10m, resources: {max_memory_mb: 64, max_cpu: 0.5, max_pids: 40}}
YAML
  key=$(mcp-gateway key create test) || fail "key create"
  case $(call echo '{"a":1}') in *'{\"a\":1}'*) ;; *) fail "the first call got $(call echo '{"a":1}')" ;; esac
  systemctl is-active --quiet mcp-gatewayd mcp-gateway-proxy || fail "the first connection did not start both services"
  echo "ok: the first connection started everything, and a tool answered"

  local unit=/sys/fs/cgroup/system.slice/mcp-gatewayd.service box
  box=$(ls -d "$unit"/mcp-gateway-*/project-*/test-* | tail -n 1)
  expect "$box/memory.max" $((64 << 20))
  expect "$box/cpu.max" "50000 100000"
  expect "$box/pids.max" 40
  answer=$(call memory '{"n":200}')
  case $answer in *memory*limit* | *limit*memory*) ;; *) fail "a call that took too much memory got $answer" ;; esac
  echo "ok: an OOM kill is answered: $answer"
  case $(call echo '{}') in *'{}'*) ;; *) fail "after an OOM kill: $(call echo '{}')" ;; esac
}

expect() { # file, value
  [ "$(cat "$1")" = "$2" ] || fail "$1 is $(cat "$1"), want $2"
  echo "ok: ${1##*/} is $2"
}

# Runs an upgrade while clients call without a pause, each call over a connection of its
# own: none may be refused or cut.
upgrade_under_load() { # command...
  local n version=$(mcp-gateway --version) before
  before=$(systemctl show -p MainPID --value mcp-gatewayd mcp-gateway-proxy | xargs)
  touch /run/loading
  for n in 1 2 3; do
    while [ -e /run/loading ]; do
      answer=$(call echo '{"n":'$n'}' -w ' HTTP %{http_code}' 2>&1) || echo "curl: $answer"
      case $answer in *' HTTP 200') echo 200 ;; *) echo "other: ${answer//$'\n'/ }" ;; esac
    done >/run/calls.load.$n &
  done
  call sleep '{"seconds":600}' -m 500 >/run/long.load 2>&1 &
  local long=$!
  sleep 3
  "$@" >/run/upgrade.load 2>&1 || fail "the upgrade: $(cat /run/upgrade.load)"
  sleep 3
  rm /run/loading
  wait || true
  grep -h 'curl: ' /run/calls.load.* && fail "connections were refused or cut"
  local good; good=$(cat /run/calls.load.* | grep -cx 200) || true
  [ "$good" -ge 6 ] || fail "only $good calls during the upgrade: $(cat /run/calls.load.*)"
  echo "ok: upgrade under load: $good calls answered; told why not: $(cat /run/calls.load.* | grep -c '^other')"
  grep -h '^other' /run/calls.load.* | cut -c1-300 | sort | uniq -c || true
  echo "ok: a call that was under way: $(cut -c1-300 /run/long.load)"
  grep -q '"detail":"[^"]' /run/long.load || fail "a call that was under way was not told why it ended"
  [ "$(mcp-gateway --version)" != "$version" ] || fail "the version is still $version"
  local after; after=$(systemctl show -p MainPID --value mcp-gatewayd mcp-gateway-proxy | xargs)
  for n in $after; do
    case " $before " in *" $n "*) fail "process $n is still that of the old version" ;; esac
    case $(readlink "/proc/$n/exe") in /usr/bin/mcp-gateway*[!\)]) ;; *) fail "process $n runs $(readlink "/proc/$n/exe")" ;; esac
  done
  grep -q "the administrator's" $config || fail "the administrator's configuration is gone"
  case $(call echo '{}') in *'{}'*) ;; *) fail "after the upgrade: $(call echo '{}')" ;; esac
  echo "ok: both services are the new version's, with the administrator's configuration and keys"
}

# After a removal nothing runs or listens, and state and configuration are there.
check_removed() { # configuration file
  pgrep -f 'mcp-gateway' >/run/left && fail "processes are left: $(xargs ps -o args= -p </run/left)"
  curl -s -m 5 -o /dev/null http://127.0.0.1:8080/ && fail "somebody listens at 8080"
  [ ! -e /run/mcp-gateway ] || fail "/run/mcp-gateway is left"
  [ ! -e /usr/bin/mcp-gateway ] || fail "the program is left"
  grep -q "the administrator's" "$1" || fail "the configuration is gone"
  [ -s /var/lib/mcp-gateway/keys.json ] || [ -n "$(ls -A /var/lib/mcp-gateway)" ] || fail "the state is gone"
  echo "ok: removed: nothing runs; configuration and state are there"
}
