#!/bin/bash
# Installs the deb and uses the gateway through its sockets.
set -eu
fail() { echo "FAIL: $*" >&2; journalctl --no-pager -u 'mcp-gateway*' | tail -n 40 >&2; exit 1; }

rm -f /usr/sbin/policy-rc.d # some hosts have one that forbids starting services
dpkg --no-triggers -i dist/mcp-gateway_*_amd64.deb >/run/installed 2>&1 || fail "the installation: $(cat /run/installed)"
systemctl stop mcp-gatewayd.socket 'mcp-gateway-proxy*.socket' # until there is a configuration
mkdir -p /opt/testserver
cp bin/testserver /opt/testserver/
getent passwd mcp-gateway-secrets >/dev/null || fail "there is no user for helpers"
(umask 077 && echo "a secret of systemd's" >/etc/mcp-gateway/token)
mkdir -p /etc/systemd/system/mcp-gatewayd.service.d
printf '[Service]\nLoadCredential=token:/etc/mcp-gateway/token\n' >/etc/systemd/system/mcp-gatewayd.service.d/secrets.conf
# The units' own minute is long for a test.
for name in mcp-gatewayd mcp-gateway-proxy; do
  grep -qx WatchdogSec=60 /usr/lib/systemd/system/$name.service || fail "$name has no watchdog"
  mkdir -p /etc/systemd/system/$name.service.d
  printf '[Service]\nWatchdogSec=12\n' >/etc/systemd/system/$name.service.d/watchdog.conf
done
cat >/etc/mcp-gateway/mcp-gateway.yaml <<YAML
version: "1.0"
gateway: {watch: false}
audit: {enabled: true, file: /var/log/mcp-gateway/audit.log}
transports:
  grpc: {enabled: true, port: 8082}
  websocket: {enabled: true, port: 8083}
  sse: {enabled: true, port: 8084}
projects:
  p: {resources: {max_memory_mb: 200}}
servers:
  test: {project: p, command: /opt/testserver/testserver, mounts: [/opt/testserver], resources: {max_memory_mb: 64, max_cpu: 0.5, max_pids: 40}}
  holder: {command: /opt/testserver/testserver, mounts: [/opt/testserver], redact: false, env: {TOKEN: "\${credential:token}"}}
YAML
systemctl daemon-reload
systemctl start mcp-gatewayd.socket mcp-gateway-proxy.socket mcp-gateway-proxy-admin.socket mcp-gateway-proxy-operator.socket
systemctl start mcp-gateway-proxy-grpc.socket mcp-gateway-proxy-websocket.socket mcp-gateway-proxy-sse.socket

# The first connection starts the daemon, and the first client the proxy.
key=$(mcp-gateway key create test) || fail "key create"
answer=$(curl -sS -m 60 http://127.0.0.1:8080/servers/test/mcp -H "Authorization: Bearer $key" -H 'Content-Type: application/json' \
  -H 'Accept: application/json, text/event-stream' -H 'MCP-Protocol-Version: 2026-07-28' -H 'Mcp-Method: tools/list' \
  -d '{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"curl","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}')
case $answer in *'"name":"echo"'*) echo "ok: tools listed through both sockets" ;; *) fail "got $answer" ;; esac

unit=/sys/fs/cgroup/system.slice/mcp-gatewayd.service
running=$(mcp-gateway ps | grep -o -m 1 'test-[0-9]*-[a-z0-9]*') || fail "no server runs: $(mcp-gateway ps)" # beside it, one is prepared
box=$(echo "$unit"/mcp-gateway-*/project-p/"$running")

[ "$(stat -c '%U %a' /run/mcp-gateway/operator.sock)" = "root 600" ] || fail "the operator's socket is $(stat -c '%U %a' /run/mcp-gateway/operator.sock)"
mcp-gateway tools approve test --all --yes >/run/approved || fail "tools approve: $(cat /run/approved)"
mcp-gateway tools list test >/run/tools || fail "tools list: $(cat /run/tools)"
grep -q '^test *echo *approved' /run/tools || fail "tools list: $(cat /run/tools)"
echo "ok: tools approved through the operator's socket"

# The journal has fields, and one request is found in both processes.
journalctl --sync
id=$(journalctl --no-pager -o cat --output-fields=MCP_CORRELATION -t mcp-gateway-proxy MCP_SERVER=test | grep -m 1 -- -) || fail "the proxy's lines have no correlation"
journalctl --no-pager -o cat "MCP_CORRELATION=$id" SYSLOG_IDENTIFIER=mcp-gatewayd MCP_SERVER=test MCP_PROJECT=p PRIORITY=6 | grep -q '^server started ' || fail "the daemon's lines have no fields: $(journalctl --no-pager -o verbose -u mcp-gatewayd | tail -n 40)"
journalctl --no-pager -o cat "MCP_CORRELATION=$id" _SYSTEMD_UNIT=mcp-gateway-proxy.service MCP_COMPONENT=proxy | grep -q '^instance started ' || fail "the proxy's lines have no fields"
echo "ok: the journal has the lines of both processes with their fields"

expect() { # file, value
  [ "$(cat "$1")" = "$2" ] || fail "$1 is $(cat "$1"), want $2"
  echo "ok: ${1#"$unit"/} is $2"
}
expect "$box/memory.max" $((64 << 20))
expect "$box/memory.swap.max" 0
expect "$box/memory.oom.group" 1
expect "$box/cpu.max" "50000 100000"
expect "$box/pids.max" 40
expect "${box%/*}/memory.max" $((200 << 20))

mcp-gateway profile audit test >/run/audit || { grep -E '^  (differs|unreadable)' /run/audit >&2; fail "the audit of the server finds differences"; }
echo "ok: $(grep ' facts: ' /run/audit)"

rest() { curl -sS -m 60 "http://127.0.0.1:8080/api/v1/$1" -H "X-API-Key: $key" "${@:2}"; }
case $(rest servers/holder/tools/env --json '{}') in *"TOKEN=a secret of systemd's"*) echo "ok: a credential of the unit reaches a server" ;; *) fail "the server has no credential: $(rest servers/holder/tools/env --json '{}')" ;; esac

config=/etc/mcp-gateway/mcp-gateway.yaml
add() { echo "  $1: {command: /opt/testserver/testserver, mounts: [/opt/testserver]}" >>$config; }
listed() { case $(rest servers) in *"\"$1\""*) ;; *) return 1 ;; esac; }
add second
systemctl reload mcp-gatewayd || fail "systemctl reload"
listed second || fail "after a reload: $(rest servers)"
cp $config /run/good.yaml
echo '  third: {comand: cat}' >>$config
systemctl reload mcp-gatewayd 2>/dev/null && fail "systemctl reload took a mistake"
journalctl --no-pager -u mcp-gatewayd | grep -q 'mcp-gateway.yaml:.*comand' || fail "the journal doesn't say what the mistake is"
listed second && ! listed third || fail "a mistake changed something: $(rest servers)"
cp /run/good.yaml $config
add fourth
systemctl kill -s HUP --kill-whom=main mcp-gatewayd
for _ in $(seq 300); do listed fourth && break; sleep 0.1; done
listed fourth || fail "after SIGHUP: $(rest servers)"
echo "ok: systemctl reload and SIGHUP, and a mistake changes nothing"

log=/var/log/mcp-gateway/audit.log
[ "$(stat -c '%U %a' $log)" = "root 600" ] && [ "$(stat -c %a ${log%/*})" = 750 ] || fail "the audit log is $(stat -c '%n %U %a' $log ${log%/*})"
grep -q '"event":"call".*"name":"env"' $log || fail "the audit log has no call: $(tail -n 3 $log)"
grep -q "a secret of systemd" /var/log/mcp-gateway/* && fail "the audit log has the secret"
mcp-gateway audit verify >/run/verified 2>&1 || fail "audit verify: $(cat /run/verified)"
echo "ok: the audit log is verified"

# Each process pings for more than a watchdog's time, and is the same afterwards.
for name in mcp-gatewayd mcp-gateway-proxy; do
  [ "$(systemctl show -p WatchdogUSec --value $name)" = 12s ] || fail "the watchdog of $name waits for $(systemctl show -p WatchdogUSec --value $name)"
done
before=$(systemctl show -p MainPID --value mcp-gatewayd mcp-gateway-proxy)
sleep 16
systemctl is-active --quiet mcp-gatewayd mcp-gateway-proxy || fail "a service ended within the watchdog's time"
[ "$(systemctl show -p MainPID --value mcp-gatewayd mcp-gateway-proxy)" = "$before" ] || fail "the watchdog has ended a service"
case $(systemctl show -p StatusText --value mcp-gateway-proxy) in "ready: "*" servers, "*) ;; *) fail "the proxy's status is $(systemctl show -p StatusText --value mcp-gateway-proxy)" ;; esac
echo "ok: both services tell the watchdog that they work"

# The streams don't end by themselves: curl's time does.
answer=$(printf '\0\0\0\0\0' | curl -sS -m 20 --http2-prior-knowledge -o /dev/null -w '%{http_code}' http://127.0.0.1:8082/grpc.health.v1.Health/Check \
  -H 'Content-Type: application/grpc' -H 'TE: trailers' --data-binary @-)
[ "$answer" = 200 ] || fail "gRPC's own socket: got $answer"
answer=$(curl -s -m 5 -o /dev/null -w '%{http_code}' http://127.0.0.1:8083/servers/test/ws -H "Authorization: Bearer $key" -H 'Connection: Upgrade' \
  -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' -H 'Sec-WebSocket-Protocol: mcp' || true)
[ "$answer" = 101 ] || fail "WebSocket's own socket: got $answer"
answer=$(curl -s -N -m 5 http://127.0.0.1:8084/servers/test/sse -H "Authorization: Bearer $key" -H 'Accept: text/event-stream' || true)
case $answer in 'event: endpoint'*) ;; *) fail "HTTP+SSE's own socket: got $answer" ;; esac
echo "ok: every transport has its socket"

systemctl kill -s KILL mcp-gateway-proxy.service
for _ in $(seq 100); do [ -d "$box" ] || break; sleep 0.1; done
[ -d "$box" ] && fail "a server outlived its proxy"
echo "ok: no server outlived its proxy"
systemctl stop mcp-gateway-proxy.socket 'mcp-gateway-proxy-*.socket' mcp-gateway-proxy mcp-gatewayd.socket mcp-gatewayd
mcp-gateway audit verify >/run/verified 2>&1 || fail "audit verify after a proxy was killed: $(cat /run/verified)"
pgrep -f mcp-gateway-launch && fail "a sandbox outlived the daemon"
echo "ok: nothing is left"
