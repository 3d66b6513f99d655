#!/bin/bash
# The units of an installed gateway: what starts what, what becomes of connections when
# something ends, what can't start and comes back, and what confines the processes.
set -eu
fail() {
  echo "FAIL: $*" >&2
  journalctl --sync
  journalctl --no-pager -o short-monotonic -u 'mcp-gateway*' | grep -v 'Unknown key' | tail -n "${SHOWN:-40}" | cut -c1-300 >&2
  exit 1
}
. tests/vm/installed.sh
install_gateway

mkdir -p /opt/testserver /etc/mcp-gateway/profiles
cp bin/testserver /opt/testserver/
config=/etc/mcp-gateway/mcp-gateway.yaml
cat >$config <<'YAML'
version: "1.0"
gateway: {watch: false}
audit: {enabled: true, file: /var/log/mcp-gateway/audit.log}
servers:
  test: {command: /opt/testserver/testserver, mounts: [/opt/testserver], resources: {max_memory_mb: 64}}
YAML
cp $config /run/good.yaml

rest() { curl -sS -m "${PATIENCE:-30}" "http://127.0.0.1:8080/api/v1/$1" -H "X-API-Key: $key" "${@:2}"; }
tool() { rest "servers/$1/tools/$2" --json "$3"; }
served() { # a client comes, and is served
  local got
  got=$(tool test echo '{"word":"here"}' 2>&1) || fail "$1: got $got"
  case $got in *here*) ;; *) fail "$1: got $got" ;; esac
}
main() { systemctl show -p MainPID --value "$1"; }
failures() { journalctl --sync; journalctl --no-pager -o cat -u "$1" | grep -c '^Failed to start ' || true; } # of a unit
all_listen() {
  local unit state
  for unit in mcp-gatewayd.socket mcp-gateway-proxy.socket mcp-gateway-proxy-operator.socket; do
    state=$(systemctl show -p SubState --value $unit)
    case $state in listening | running) ;; *) fail "$1: $unit is $state" ;; esac
  done
}

systemctl start mcp-gatewayd.socket mcp-gateway-proxy.socket mcp-gateway-proxy-admin.socket mcp-gateway-proxy-operator.socket
key=$(mcp-gateway key create test)

# The first connection starts the proxy, which starts the daemon. The machine is slow and
# may be busy with other things: the best of three tries counts.
best=
for _ in 1 2 3; do
  systemctl stop mcp-gateway-proxy.service mcp-gatewayd.service
  for unit in mcp-gatewayd mcp-gateway-proxy; do
    systemctl is-active --quiet $unit && fail "$unit runs before anybody came"
  done
  begun=$(date +%s%N)
  PATIENCE=10 rest servers >/run/answer || fail "the first connection: $(cat /run/answer)"
  took=$((($(date +%s%N) - begun) / 1000000))
  grep -q '"test"' /run/answer || fail "the first connection: got $(cat /run/answer)"
  [ -n "$best" ] && [ "$best" -le $took ] || best=$took
done
[ "$best" -lt 2000 ] || fail "the first connection was answered after $best ms"
echo "ok: the first connection started everything and was answered after $best ms"
served "a tool"

# What the kernel says of both processes.
field() { awk -v name="$2:" '$1 == name { print $2 }' "/proc/$(main "$1")/status"; }
[ "$(field mcp-gateway-proxy CapBnd)" = 0000000000000000 ] || fail "the proxy could have capabilities: $(field mcp-gateway-proxy CapBnd)"
for unit in mcp-gatewayd mcp-gateway-proxy; do
  [ "$(field $unit NoNewPrivs) $(field $unit Seccomp)" = "1 2" ] || fail "$unit: no_new_privs $(field $unit NoNewPrivs), seccomp $(field $unit Seccomp)"
done
mcp-gateway profile audit test >/run/audit || fail "the audit of the server finds differences: $(grep -E '^  (differs|unreadable)' /run/audit)"
[ "$(cat "/proc/$(main mcp-gatewayd)/oom_score_adj")" = -500 ] || fail "the daemon is not spared when memory is short"
echo "ok: both processes are confined, and a server is as its profile says"

# New connections while either restarts: each is answered.
load() { bin/load -for "$1" -workers 4 http://127.0.0.1:8080/api/v1/servers/test/tools/echo "X-API-Key: $key" '{"word":"x"}'; }
load 12s >/run/load 2>&1 &
sleep 2
systemctl restart mcp-gateway-proxy
sleep 3
systemctl restart mcp-gateway-proxy
wait %% || fail "connections were lost when the proxy restarted: $(cat /run/load)"
grep -q '^200=[0-9]* slowest' /run/load || fail "not every request was answered well: $(cat /run/load)"
echo "ok: two restarts of the proxy under load: $(cat /run/load)"

load 15s >/run/load 2>&1 &
sleep 2
before=$(main mcp-gatewayd)
systemctl restart mcp-gatewayd
[ "$(main mcp-gatewayd)" != "$before" ] || fail "the daemon did not restart"
wait %% || fail "connections were lost when the daemon restarted: $(cat /run/load)"
grep -q '200=' /run/load || fail "nothing was answered: $(cat /run/load)"
served "after the daemon's restart"
echo "ok: a restart of the daemon under load: $(cat /run/load)"

# Killed processes come back, and so do those that are stuck.
for unit in mcp-gateway-proxy mcp-gatewayd; do
  systemctl kill -s KILL --kill-whom=main $unit
  served "after $unit was killed"
done
mkdir -p /run/systemd/system/mcp-gatewayd.service.d /run/systemd/system/mcp-gateway-proxy.service.d
for unit in mcp-gatewayd mcp-gateway-proxy; do
  printf '[Service]\nWatchdogSec=3\n' >/run/systemd/system/$unit.service.d/watchdog.conf
done
systemctl daemon-reload
systemctl restart mcp-gatewayd mcp-gateway-proxy
for unit in mcp-gateway-proxy mcp-gatewayd; do
  served "before $unit is stopped"
  before=$(main $unit)
  kill -STOP "$before"
  for _ in $(seq 200); do [ "$(main $unit)" = "$before" ] || break; sleep 0.1; done
  [ "$(main $unit)" != "$before" ] || fail "the watchdog left $unit stopped"
  served "after the watchdog ended $unit"
done
rm -r /run/systemd/system/mcp-gatewayd.service.d /run/systemd/system/mcp-gateway-proxy.service.d
systemctl daemon-reload
systemctl restart mcp-gatewayd mcp-gateway-proxy
served "with the watchdogs of the units"
echo "ok: who was killed or stuck comes back"

# A server that reaches its limit of memory ends alone.
before=$(main mcp-gatewayd)
got=$(tool test memory '{"n":200}')
case $got in *memory*) ;; *) fail "a server without memory: got $got" ;; esac
[ "$(main mcp-gatewayd)" = "$before" ] && systemctl is-active --quiet mcp-gatewayd || fail "the daemon ended with a server"
served "after a server's end"
echo "ok: a server's memory limit ends the server alone"

# A configuration that is wrong: nothing can start, nothing spins, and nothing has to be
# reset when it is right again.
systemctl stop mcp-gateway-proxy.service mcp-gatewayd.service
echo '  wrong: {comand: cat}' >>$config
first=$(failures mcp-gatewayd) second=$(failures mcp-gateway-proxy)
for _ in 1 2 3; do
  PATIENCE=5 rest servers >/run/answer 2>&1 && grep -q '"test"' /run/answer && fail "it works with a mistake: $(cat /run/answer)"
done
sleep 5
first=$(($(failures mcp-gatewayd) - first)) second=$(($(failures mcp-gateway-proxy) - second))
[ $first -ge 2 ] && [ $first -le 30 ] || fail "the daemon failed to start $first times in 20 seconds"
[ $second -le 40 ] || fail "the proxy failed to start $second times in 20 seconds"
all_listen "with a mistake"
cp /run/good.yaml $config
for _ in $(seq 30); do # the daemon's next try comes within seconds, and clients are told to come again until then
  case $(tool test echo '{"word":"here"}' 2>&1) in *here*) break ;; esac
  sleep 0.5
done
served "once the mistake is mended"
all_listen "afterwards"
echo "ok: with a mistake the daemon failed to start $first times in 20 seconds, the proxy $second times, and then the next client was served"

# A port that is in use costs its own socket, and nobody else's.
systemctl stop mcp-gateway-proxy-admin.socket mcp-gateway-proxy.service
python3 -c 'import socket,time; s=socket.socket(); s.bind(("127.0.0.1",8081)); s.listen(); time.sleep(600)' &
other=$!
sleep 0.5
systemctl start mcp-gateway-proxy-admin.socket 2>/dev/null && fail "the port is not in use"
served "with the admin port in use"
kill $other
wait $other || true
systemctl restart mcp-gateway-proxy-admin.socket || fail "the admin port can't be opened again" # and the proxy, which gets it
[ "$(curl -s -m 30 http://127.0.0.1:8081/healthz)" = ok ] || fail "the admin port does not answer"
echo "ok: a port in use closes nothing else"

# A socket that is stopped is closed, and its restart moves it.
mkdir -p /run/systemd/system/mcp-gateway-proxy.socket.d
printf '[Socket]\nListenStream=\nListenStream=127.0.0.1:80\n' >/run/systemd/system/mcp-gateway-proxy.socket.d/port.conf
systemctl daemon-reload
systemctl restart mcp-gateway-proxy.socket
curl -sS -m 20 http://127.0.0.1:80/api/v1/servers -H "X-API-Key: $key" | grep -q '"test"' || fail "port 80 does not answer"
curl -s -m 2 http://127.0.0.1:8080/ >/dev/null && fail "port 8080 is still open"
rm -r /run/systemd/system/mcp-gateway-proxy.socket.d
systemctl daemon-reload
systemctl restart mcp-gateway-proxy.socket
served "back at its port"
echo "ok: a socket moves to a port below 1024 and back"

# Two of the examples: credentials, one of them encrypted with the host's key, and a ceiling over all servers.
example() { # puts one where it says
  install -D -m 644 "systemd/examples/$1" "$(sed -n 's|^# \(/etc/systemd/system/[^ ]*\.conf\).*|\1|p' "systemd/examples/$1" | head -n 1)"
}
echo 'in a file' >/etc/mcp-gateway/vault-token
printf 'sealed for this host' | systemd-creds encrypt --name=db-password - /etc/mcp-gateway/db-password.cred 2>/run/creds || fail "systemd-creds: $(cat /run/creds)"
example daemon-credentials.conf
example daemon-memory.conf
cat >>$config <<'YAML'
  holder: {command: /opt/testserver/testserver, mounts: [/opt/testserver], redact: false, env: {FIRST: "${credential:vault-token}", SECOND: "${credential:db-password}"}}
YAML
systemctl daemon-reload
systemctl restart mcp-gatewayd
got=$(tool holder env '{}')
case $got in *'FIRST=in a file'*'SECOND=sealed for this host'*) ;; *) fail "the server's credentials: got $got" ;; esac
[ "$(cat /sys/fs/cgroup/system.slice/mcp-gatewayd.service/memory.max)" = $((8 << 30)) ] || fail "all servers together may use $(cat /sys/fs/cgroup/system.slice/mcp-gatewayd.service/memory.max)"
echo "ok: a server has credentials, one of them encrypted, and all servers have a ceiling"

# The proxy ends before the daemon when the host does: this target stops all, as shutdown.target would.
served "before the end"
printf '[Unit]\nConflicts=mcp-gatewayd.service mcp-gatewayd.socket mcp-gateway-proxy.service mcp-gateway-proxy.socket mcp-gateway-proxy-admin.socket mcp-gateway-proxy-operator.socket\n' >/run/systemd/system/ending.target
systemctl daemon-reload
systemctl start ending.target
for unit in mcp-gatewayd mcp-gateway-proxy; do
  for _ in $(seq 300); do [ "$(systemctl show -p ActiveState --value $unit)" = inactive ] && break; sleep 0.1; done
  [ "$(systemctl show -p ActiveState --value $unit)" = inactive ] || fail "$unit is $(systemctl show -p ActiveState --value $unit)"
done
ended=$(systemctl show -p InactiveEnterTimestampMonotonic --value mcp-gateway-proxy)
began=$(systemctl show -p ActiveExitTimestampMonotonic --value mcp-gatewayd)
[ "$ended" -le "$began" ] || fail "the daemon began to end at $began, the proxy had ended at $ended"
pgrep -f mcp-gateway-launch && fail "a sandbox outlived the daemon"
echo "ok: the proxy ends before the daemon, and no server stays"
