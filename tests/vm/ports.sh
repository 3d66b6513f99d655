#!/bin/bash
# Has systemd listen where the configuration says: assigned ports that last, conflicts,
# transports that come and go, and a configuration that is broken.
set -eu
fail() { echo "FAIL: $*" >&2; journalctl --no-pager -u 'mcp-gateway*' | tail -n 40 >&2; dmesg | grep mcp-gateway-generator | tail -n 10 >&2; exit 1; }

. tests/vm/installed.sh
install_gateway
generator=/usr/lib/systemd/system-generators/mcp-gateway-generator
mkdir -p /opt/testserver
cp bin/testserver /opt/testserver/
config=/etc/mcp-gateway/mcp-gateway.yaml
memory=/run/mcp-gateway/ports.json
apply="systemctl daemon-reload && systemctl restart mcp-gateway-proxy.socket mcp-gatewayd" # as the documentation says

configure() { # transports
  cat >$config <<YAML
version: "1.0"
gateway: {watch: false}
transports: $1
servers:
  test: {command: /opt/testserver/testserver, mounts: [/opt/testserver]}
YAML
}
remembered() { # transport
  python3 -c 'import json, sys; p = json.load(open(sys.argv[1]))["ports"].get(sys.argv[2]); print("%(address)s:%(port)s" % p if p else "-")' $memory "$1"
}
expect() { # http, grpc: where they listen
  [ "$(remembered http) $(remembered grpc)" = "$1 $2" ] || fail "$memory has http $(remembered http) and grpc $(remembered grpc), want $1 and $2"
  for pair in "mcp-gateway-proxy.socket $1" "mcp-gateway-proxy-grpc.socket $2"; do
    local state=active
    [ "${pair#* }" = - ] && state=inactive
    [ "$(systemctl is-active "${pair% *}" || true)" = $state ] || fail "${pair% *} is $(systemctl is-active "${pair% *}"), want $state: $(systemctl status "${pair% *}" 2>&1 | head -n 12)"
  done
  [ "$1" = - ] || served "$1"
  [ "$2" = - ] || healthy "$2"
}
served() { # where http listens
  case $(curl -sS -m 60 "http://$1/api/v1/servers" -H "X-API-Key: $key") in *'"test"'*) ;; *) fail "no server is listed at $1" ;; esac
}
healthy() { # where gRPC listens
  local answer
  answer=$(printf '\0\0\0\0\0' | curl -sS -m 60 --http2-prior-knowledge -o /dev/null -w '%{http_code}' "http://$1/grpc.health.v1.Health/Check" \
    -H 'Content-Type: application/grpc' -H 'TE: trailers' --data-binary @- || true)
  [ "$answer" = 200 ] || fail "gRPC at $1: got $answer"
}

configure '{port_range: 8100-8109, reserved_ports: [8100], http: {port: 0}, grpc: {enabled: true, port: 0}}'
key=$(mcp-gateway key create test) || fail "key create"
systemctl daemon-reload
[ -e $memory ] && fail "$memory is there before any socket is open"
systemctl start mcp-gatewayd.socket mcp-gateway-proxy-admin.socket mcp-gateway-proxy-operator.socket mcp-gateway-proxy.socket
expect 127.0.0.1:8102 127.0.0.1:8101
[ "$(stat -c '%U %a' $memory)" = "root 644" ] || fail "$memory is $(stat -c '%U %a' $memory)"
echo "ok: the lowest ports that are not reserved, and gRPC's socket came with HTTP's"
mcp-gateway status >/run/status
grep -q 'http 127.0.0.1:8102 (assigned)' /run/status || fail "status: $(cat /run/status)"
mcp-gateway export --client claude-code 2>/dev/null | grep -q 'http://127.0.0.1:8102/' || fail "export: $(mcp-gateway export --client claude-code)"
mcp-gateway doctor >/run/doctor || true
grep -q 'ok .*2 listeners can be where' /run/doctor || fail "doctor takes the gateway's own sockets for others': $(cat /run/doctor)"
echo "ok: status, export and doctor know them"

configure '{port_range: 8101-8109, http: {port: 0}, grpc: {enabled: true, port: 0}}'
systemctl daemon-reload
expect 127.0.0.1:8102 127.0.0.1:8101
systemctl stop mcp-gateway-proxy.service
served 127.0.0.1:8102 # by a proxy that the socket has started
eval "$apply" || fail "$apply"
expect 127.0.0.1:8102 127.0.0.1:8101
echo "ok: a daemon-reload keeps what is open, and a restart the ports"

systemctl stop mcp-gateway-proxy.socket
[ "$(systemctl is-active mcp-gateway-proxy-grpc.socket || true)" = inactive ] || fail "gRPC's socket does not stop with HTTP's"
python3 -m http.server -b 127.0.0.1 8102 >/dev/null 2>&1 &
other=$!
for _ in $(seq 100); do curl -s -o /dev/null http://127.0.0.1:8102/ && break; sleep 0.1; done
eval "$apply" || fail "$apply"
expect 127.0.0.1:8103 127.0.0.1:8101
echo "ok: a port that another process has taken is replaced"

configure '{http: {port: 8102}}'
mcp-gateway reload 2>/run/reload && fail "a reload took other listeners"
grep -q "$apply" /run/reload || fail "reload does not say what to do: $(cat /run/reload)"
mcp-gateway doctor >/run/doctor || true
grep -q "open transports.http: 127.0.0.1:8102 is held by \"python3\" (pid $other, user root)" /run/doctor || fail "doctor does not name the process: $(grep ports /run/doctor)"
kill $other
configure '{http: {port: 8200}}'
eval "$apply" || fail "$apply"
expect 127.0.0.1:8200 -
systemctl status mcp-gateway-proxy-grpc.socket | grep -q 'transports.grpc has no listener' || fail "gRPC's socket does not say why: $(systemctl status mcp-gateway-proxy-grpc.socket)"
configure '{http: {enabled: false}, grpc: {enabled: true, port: 8201}}'
eval "$apply" || fail "$apply"
expect - 127.0.0.1:8201
echo "ok: transports come and go with the configuration"

configure '{http: {port: 8200}, grpc: {enabled: true, prot: 8201}}'
before=$(cat /run/systemd/generator/mcp-gateway-proxy-grpc.socket.d/50-mcp-gateway.conf)
systemctl daemon-reload
[ "$(cat /run/systemd/generator/mcp-gateway-proxy-grpc.socket.d/50-mcp-gateway.conf)" = "$before" ] || fail "a broken configuration changed a unit"
healthy 127.0.0.1:8201
dmesg | grep -q 'mcp-gateway-generator.*transports.grpc.prot: unknown key' || fail "the kernel's log does not say what is wrong"
systemctl stop mcp-gateway-proxy.socket mcp-gatewayd mcp-gateway-proxy
rm $memory
systemctl daemon-reload
[ "$(systemctl show -p Listen --value mcp-gateway-proxy.socket mcp-gateway-proxy-grpc.socket | tr -s '\n' ' ')" = "127.0.0.1:8080 (Stream) 127.0.0.1:8082 (Stream) " ] ||
  fail "a broken configuration leaves $(systemctl show -p Listen --value mcp-gateway-proxy.socket mcp-gateway-proxy-grpc.socket)"
echo "ok: a broken configuration changes no unit"

configure '{grpc: {enabled: true, port: 0}, http: {enabled: true, port: 0}}' # as in the product document
eval "$apply" || fail "$apply"
expect 127.0.0.1:8080 127.0.0.1:8082
configure '{http: {address: "::", port: 8200}, grpc: {enabled: true, address: 192.0.2.7, port: 8201}}'
eval "$apply" || fail "$apply"
served 127.0.0.1:8200
served '[::1]:8200'
ip address add 192.0.2.7/32 dev lo
healthy 192.0.2.7:8201
echo "ok: without a range the units' ports; all addresses, and one that comes later"

began=$(date +%s%N)
$generator /run /run /run
echo "ok: the generator took $((($(date +%s%N) - began) / 1000000)) ms"
