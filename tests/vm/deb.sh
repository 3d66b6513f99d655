#!/bin/bash
# Installs the deb, uses the gateway, upgrades it under load, removes and purges it.
#
# The packages are dist/*_amd64.deb and dist/next/*_amd64.deb (make test-vm makes them).
set -eu
rpmdb=/nowhere
. tests/vm/packages.sh

# Manual pages need no index here: that takes minutes on this machine.
install() { dpkg --no-triggers --force-confold -i "$@"; }

rm -f /usr/sbin/policy-rc.d # some hosts have one that forbids starting services
snapshot >/run/before
# A port that another program has does not stop the installation; it is said what to do.
python3 -c 'import socket,time; s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", 8080)); s.listen(); time.sleep(600)' &
holder=$!
until curl -s -m 1 -o /dev/null http://127.0.0.1:8080/ || [ $? = 28 ]; do sleep 0.1; done
install dist/*_amd64.deb >/run/installed 2>&1 || fail "the installation: $(cat /run/installed)"
grep -q 'mcp-gateway-proxy.socket does not listen' /run/installed || fail "nothing was said of the port that is taken: $(cat /run/installed)"
kill $holder
wait $holder 2>/dev/null || true
systemctl start mcp-gateway-proxy.socket
echo "ok: a port that is taken stops no installation"

check_fresh
use_gateway
upgrade_under_load install dist/next/*_amd64.deb

dpkg -L mcp-gateway >/run/files
dpkg --no-triggers -r mcp-gateway >/run/removed 2>&1 || fail "the removal: $(cat /run/removed)"
check_removed $config

# What the administrator wrote for units stays even then.
mkdir -p /etc/systemd/system/mcp-gatewayd.service.d
echo '[Service]' >/etc/systemd/system/mcp-gatewayd.service.d/own.conf
dpkg --no-triggers -P mcp-gateway >/run/removed 2>&1 || fail "the purge: $(cat /run/removed)"
[ -e /etc/systemd/system/mcp-gatewayd.service.d/own.conf ] || fail "the administrator's drop-in is gone"
rm -r /etc/systemd/system/mcp-gatewayd.service.d /opt/testserver
check_gone /run/files
snapshot >/run/after
diff /run/before /run/after >/run/left || fail "a purge leaves: $(grep '^[<>]' /run/left | head -n 40)"
echo "ok: purged: nothing is left, users neither"
