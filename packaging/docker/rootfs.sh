#!/bin/sh
# Makes the whole content of an image: what lies at / in a container of a role.
#
#   rootfs.sh daemon|proxy DIR
#
# DIR must not exist. The programs are taken from BIN (default: bin, where make build
# puts them). The Dockerfile uses this, and so do the tests, without an engine.
# Nothing of it depends on the host but the certificate authorities (CA_BUNDLE), and
# two runs with the same programs and SOURCE_DATE_EPOCH are alike. Runs as root.
set -eu

usage() { sed -n 2,10p "$0" >&2; exit 2; }
[ $# = 2 ] || usage
role=$1 root=$2
case $role in daemon | proxy) ;; *) usage ;; esac
[ "$(id -u)" = 0 ] || { echo "rootfs.sh: some folders are the proxy's: run as root" >&2; exit 1; }
source=$(cd "$(dirname "$0")/../.." && pwd)
bin=${BIN:-$source/bin}

authorities=${CA_BUNDLE:-}
for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
  [ -n "$authorities" ] || [ ! -e "$bundle" ] || authorities=$bundle
done
[ -n "$authorities" ] || { echo "rootfs.sh: no certificate authorities: install ca-certificates, or name them in CA_BUNDLE" >&2; exit 1; }

# In images these have fixed ids: volumes and manifests name them.
proxy=65532 secrets=65533

folder() { # PATH [MODE [OWNER]]
  install -d -m "${2:-0755}" -o "${3:-0}" -g "${3:-0}" "$root/$1"
}
file() { # FROM PATH [MODE]
  install -m "${3:-0644}" -o 0 -g 0 "$1" "$root/$2"
}
text() { # PATH; the content is standard input
  cat >"$root/$1"
  chmod 0644 "$root/$1"
}

umask 022
mkdir "$root"
for path in etc etc/ssl etc/ssl/certs usr usr/bin usr/share usr/share/doc usr/share/doc/mcp-gateway var var/lib run tmp proc sys dev; do
  folder "$path"
done
# As distributions have them: a derived image, and what is shown to servers, looks the same.
for name in bin sbin lib lib64; do
  ln -s "usr/$name" "$root/$name"
  folder "usr/$name"
done

text etc/passwd <<TEXT
root:x:0:0:root:/:/sbin/nologin
mcp-gateway:x:$proxy:$proxy:MCP Gateway proxy:/:/sbin/nologin
mcp-gateway-secrets:x:$secrets:$secrets:MCP Gateway helpers:/:/sbin/nologin
TEXT
text etc/group <<TEXT
root:x:0:
mcp-gateway:x:$proxy:
mcp-gateway-secrets:x:$secrets:
TEXT
text etc/nsswitch.conf <<TEXT
passwd: files
group: files
hosts: files dns
TEXT
text etc/hosts <<TEXT
127.0.0.1	localhost
::1	localhost
TEXT
file "$authorities" etc/ssl/certs/ca-certificates.crt
file "$source/LICENSE" usr/share/doc/mcp-gateway/LICENSE

# Mount points. The control socket is in the daemon's folder, the operator's in the proxy's:
# neither process can write to the other's.
folder run/mcp-gateway
folder run/mcp-gateway-proxy 0700 $proxy

case $role in
daemon)
  folder usr/libexec
  folder usr/libexec/mcp-gateway
  file "$bin/mcp-gatewayd" usr/bin/mcp-gatewayd 0755
  file "$bin/mcp-gateway" usr/bin/mcp-gateway 0755
  file "$bin/mcp-gateway-launch" usr/libexec/mcp-gateway/mcp-gateway-launch 0755
  file "$bin/mcp-gateway-vault" usr/libexec/mcp-gateway/mcp-gateway-vault 0755
  folder etc/mcp-gateway
  file "$source/packaging/mcp-gateway.yaml" etc/mcp-gateway/mcp-gateway.yaml
  file "$source/packaging/policies.yaml" etc/mcp-gateway/policies.yaml
  folder run/mcp-gateway-ids 0700
  folder var/lib/mcp-gateway
  folder var/log
  folder var/log/mcp-gateway 0750
  ;;
proxy)
  file "$bin/mcp-gateway-proxy" usr/bin/mcp-gateway-proxy 0755
  folder var/lib/mcp-gateway-proxy 0700 $proxy
  ;;
esac

find "$root" -exec touch -h -d "@${SOURCE_DATE_EPOCH:-0}" {} +
