#!/bin/bash
# The AppArmor profiles: that they are on, that the gateway works under them, and that
# they bite. The units are used as installed.
set -eu
fail() {
  echo "FAIL: $*" >&2
  journalctl --no-pager -u 'mcp-gateway*' | grep -v 'Unknown key' | tail -n 30 | cut -c1-300 >&2
  dmesg 2>/dev/null | grep -i 'apparmor="DENIED"' | tail -n 20 >&2
  exit 1
}
. tests/vm/installed.sh
install_gateway
install -D -m 644 -t /etc/apparmor.d packaging/apparmor/mcp-gateway-proxy packaging/apparmor/mcp-gateway-server
apparmor_parser --replace --skip-cache /etc/apparmor.d/mcp-gateway-proxy /etc/apparmor.d/mcp-gateway-server || fail "the profiles don't load"

mkdir -p /opt/testserver /etc/mcp-gateway/profiles
cp bin/testserver /opt/testserver/
printf 'extends = "default"\nallow_weaker = true\n[lsm]\napparmor = "mcp-gateway-server"\n' >/etc/mcp-gateway/profiles/labelled.toml
printf 'extends = "network-client"\nallow_weaker = true\n[network]\nallow = ["192.0.2.1:7777"]\n' >/etc/mcp-gateway/profiles/reaching.toml
cat >/etc/mcp-gateway/mcp-gateway.yaml <<'YAML'
version: "1.0"
gateway: {watch: false}
audit: {enabled: true, file: /var/log/mcp-gateway/audit.log}
usage: {enabled: true}
servers:
  test: {command: /opt/testserver/testserver, mounts: [/opt/testserver], profile: labelled}
  net: {command: /opt/testserver/testserver, mounts: [/opt/testserver], profile: reaching}
YAML
mcp-gateway check /etc/mcp-gateway/mcp-gateway.yaml >/run/check 2>&1 || fail "the configuration: $(cat /run/check)"
systemctl start mcp-gatewayd.socket mcp-gateway-proxy.socket mcp-gateway-proxy-admin.socket mcp-gateway-proxy-operator.socket
key=$(mcp-gateway key create test)
tool() { curl -sS -m 30 "http://127.0.0.1:8080/api/v1/servers/$1/tools/$2" -H "X-API-Key: $key" --json "$3"; }

got=$(tool test echo '{"word":"here"}')
case $got in *here*) ;; *) fail "a call: got $got" ;; esac
proxy=$(systemctl show -p MainPID --value mcp-gateway-proxy)
[ "$(cat "/proc/$proxy/attr/current")" = "mcp-gateway-proxy (enforce)" ] || fail "the proxy runs as $(cat "/proc/$proxy/attr/current")"
got=$(tool test read_file '{"path":"/proc/self/attr/current"}')
case $got in *'mcp-gateway-server (enforce)'*) ;; *) fail "the server runs as: $got" ;; esac
got=$(tool test run '{"argv":["/bin/sh","-c","cat /proc/self/attr/current; ls /usr >/dev/null && echo fine"]}')
case $got in *'mcp-gateway-server (enforce)'*fine*) ;; *) fail "what a server starts: $got" ;; esac
echo "ok: proxy and server are confined, by name"

# The rest of the gateway works: an allow-list's connections, lists, status, metrics, the audit log, a restart.
tool net connect '{"network":"tcp","address":"192.0.2.2:7777"}' >/dev/null
journalctl --sync
journalctl --no-pager -u mcp-gateway-proxy | grep -q '192.0.2.2:7777 is not in the profile' || fail "a connection that is not allowed was not refused"
mcp-gateway status >/run/status || fail "status: $(cat /run/status)"
mcp-gateway tools approve test --all --yes >/run/tools || fail "tools approve: $(cat /run/tools)"
curl -sS -m 10 http://127.0.0.1:8081/metrics | grep -q '^mcp_gateway' || fail "no metrics"
systemctl reload mcp-gatewayd || fail "reload"
systemctl restart mcp-gateway-proxy
got=$(tool test echo '{"word":"again"}')
case $got in *again*) ;; *) fail "after a restart: got $got" ;; esac
mcp-gateway audit verify >/run/verified 2>&1 || fail "audit verify: $(cat /run/verified)"
mcp-gateway profile audit test >/run/audit || fail "the audit of the server finds differences: $(grep -E '^  (differs|unreadable)' /run/audit)"
journalctl --sync
if journalctl --no-pager -k | grep -i 'apparmor="DENIED"' >/run/denied || dmesg | grep -i 'apparmor="DENIED"' >/run/denied; then fail "something was denied: $(head -n 10 /run/denied)"; fi
echo "ok: the gateway works under the profiles, and nothing was denied"

# They bite. The proxy's profile executes nothing; a copy that may execute cat shows what it reads.
aa-exec -p mcp-gateway-proxy -- /bin/cat /etc/hostname 2>/dev/null && fail "the proxy may execute programs"
sed -e 's/^profile mcp-gateway-proxy [^ ]*/profile mcp-gateway-test/' -e 's#^  /usr/bin/mcp-gateway-proxy mr,#  /usr/bin/{cat,touch} mrix, /etc/ld.so.cache r, /{,usr/}lib{,64}/** mr, /dev/* rw,#' /etc/apparmor.d/mcp-gateway-proxy >/run/test-profile
apparmor_parser --replace --skip-cache /run/test-profile
as() { aa-exec -p mcp-gateway-test -- "$@"; }
as /usr/bin/cat /etc/hosts >/dev/null || fail "the copy of the profile reads nothing"
for file in /etc/shadow /etc/mcp-gateway/mcp-gateway.yaml /var/lib/mcp-gateway/keys.json /proc/1/environ /proc/kallsyms; do
  [ -e $file ] || fail "there is no $file"
  as /usr/bin/cat $file >/dev/null 2>&1 && fail "the proxy may read $file"
done
for file in /etc/x /tmp/x /var/log/mcp-gateway/x.log /run/mcp-gateway/x; do
  as /usr/bin/touch $file 2>/dev/null && fail "the proxy may make $file"
done
# What the server's profile forbids, tried without a sandbox, as root.
labelled() { aa-exec -p mcp-gateway-server -- "$@" >/dev/null 2>&1; }
labelled /bin/cat /etc/hostname || fail "the server's profile runs nothing"
labelled /bin/mount -t tmpfs none /mnt && fail "a server may mount"
labelled /bin/sh -c 'echo 1 >/proc/sys/kernel/sysrq' && fail "a server may change kernel settings"
labelled /usr/bin/python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)' && fail "a server may have packet sockets"
labelled /usr/bin/python3 -c 'import os; os.chown("/run/test-profile", 1, 1)' && fail "a server may use capabilities"
labelled /bin/sh -c 'echo changeprofile unconfined >/proc/self/attr/current' && fail "a server may leave its profile"
labelled /bin/ls /run/mcp-gateway/sandboxes/ && fail "a server may look into the gateway's folders"
echo "ok: what the profiles don't name is denied"
