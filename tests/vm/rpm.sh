#!/bin/bash
# The same as deb.sh with the rpm and rpm's own tools: with a database of its own, since
# this machine is Debian's, whose packages rpm does not know.
#
# The packages are dist/*.x86_64.rpm and dist/next/*.x86_64.rpm.
set -eu
rpmdb=/var/lib/rpm-of-the-test
. tests/vm/packages.sh

install() { rpm --dbpath $rpmdb --nodeps "$@"; }

rm -f /usr/sbin/policy-rc.d
rpm --dbpath $rpmdb --initdb
mkdir -p /usr/share/licenses /usr/share/zsh/site-functions # where rpm is at home, all have these
snapshot >/run/before
install -i dist/*.x86_64.rpm >/run/installed 2>&1 || fail "the installation: $(cat /run/installed)"
# Presets enable here, as Debian's do; nothing starts at an installation.
systemctl start "${sockets[@]}"
check_fresh
use_gateway
upgrade_under_load install -U dist/next/*.x86_64.rpm
install -V mcp-gateway >/run/verified || true
grep -v ' c /etc/mcp-gateway/mcp-gateway.yaml$' /run/verified && fail "rpm -V finds changes"
echo "ok: rpm -V finds no change but the administrator's"

rpm --dbpath $rpmdb -ql mcp-gateway >/run/files
install -e mcp-gateway >/run/removed 2>&1 || fail "the removal: $(cat /run/removed)"
check_removed $config.rpmsave

# What docs/install.md says to delete by hand.
rm -rf /etc/mcp-gateway /var/lib/mcp-gateway /var/lib/mcp-gateway-proxy /var/log/mcp-gateway
userdel mcp-gateway && userdel mcp-gateway-secrets
rm -r /opt/testserver
check_gone /run/files
snapshot >/run/after
diff /run/before /run/after >/run/left || fail "what is left: $(grep '^[<>]' /run/left | head -n 40)"
echo "ok: what the documentation deletes is all that was left"
