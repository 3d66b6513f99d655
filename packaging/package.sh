#!/bin/bash
# Makes deb and rpm packages. The same commit, compilers and version make the same
# bytes, wherever and whenever: make package is how it is called.
#
#   VERSION=0.1.0 DIST=dist package.sh amd64 arm64
#
# MAINTAINER is who is asked about the packages: whoever publishes them sets it.
set -eu
cd "$(dirname "$0")/.."

SOURCE_DATE_EPOCH=$(packaging/epoch.sh)
export SOURCE_DATE_EPOCH
export MAINTAINER=${MAINTAINER:-MCP Gateway maintainers <maintainers@mcp-gateway.invalid>}
export LC_ALL=C TZ=UTC
umask 022
dist=$(mkdir -p "$DIST" && cd "$DIST" && pwd)
shared=$dist/build/shared
nfpm() { go tool -modfile=tools/package/go.mod nfpm "$@"; }

# The C compiler for an architecture: the host's own for its own.
compiler() {
  case $1 in
  "$(go env GOHOSTARCH)") echo "${CC:-cc}" ;;
  amd64) echo x86_64-linux-gnu-gcc ;;
  arm64) echo aarch64-linux-gnu-gcc ;;
  *) echo "package.sh: there are no packages for $1" >&2; return 1 ;;
  esac
}

# The documents, which all packages share: written by the project's own programs.
documents() {
  local command=$shared/command/mcp-gateway page shell
  rm -rf "$shared"
  mkdir -p "$shared"/{command,man1,man5,man8,doc/docs,doc/examples}
  CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$command" ./cmd/mcp-gateway
  "$command" man "$shared/man1"
  for page in packaging/man/*.[58]; do
    sed "s/@DATE@/$(date -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%d)/" "$page" >"$shared/man${page##*.}/${page##*/}"
  done
  for shell in bash zsh fish; do "$command" completion $shell >"$shared/completion.$shell"; done
  go run -C tools/package . -source "$PWD" -version "$VERSION-1" -maintainer "$MAINTAINER" -date "$SOURCE_DATE_EPOCH" -output "$shared"

  cp README.md SECURITY.md ARCHITECTURE.md "$shared/NOTICE" "$shared/doc"
  cp CHANGELOG.md "$shared/doc/changelog"
  cp docs/*.md "$shared/doc/docs"
  cp -r packaging/{prometheus,grafana,kubernetes,selinux} packaging/prices.yaml "$shared/doc/examples"
  cp -r systemd/examples "$shared/doc/examples/systemd"
  gzip -9n "$shared"/man?/* "$shared/doc/changelog" "$shared/changelog.Debian"
  chmod -R u=rwX,go=rX "$shared"
  find "$shared" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

# The lines of nfpm.yaml for what people read. An rpm marks it; a deb has no mark.
reading() { # architecture's folder, kind of content
  local at mode kind
  cd "$1"
  find doc man? | sort | while read -r at; do
    mode=0644 kind=$2
    [ -f "$at" ] || mode=0755 kind=dir
    case $at in
    man?) continue ;;
    man*) echo "  - {src: $1/$at, dst: /usr/share/man/$at, type: '$kind', file_info: {mode: $mode}}" ;;
    *) echo "  - {src: $1/$at, dst: /usr/share/doc/mcp-gateway${at#doc}, type: '$kind', file_info: {mode: $mode}}" ;;
    esac
  done
}

rm -f "$dist"/mcp-gateway[-_]*.deb "$dist"/mcp-gateway-*.rpm # of other versions
documents
for arch in "$@"; do
  cc=$(compiler "$arch")
  built=$dist/build/$arch
  rm -rf "$built"
  cp -a "$shared" "$built"
  make -s build VERSION="$VERSION" BIN="$built/bin" GOARCH="$arch" CC="$cc"
  export ARCH=$arch BUILT=$built
  { cat packaging/nfpm.yaml && (reading "$built" ''); } | nfpm package -p deb -t "$dist" -f -
  # Only an rpm has fields for these; a deb has files.
  { printf '%s\n' "license: Apache-2.0" "changelog: $built/changelog.yaml" && cat packaging/nfpm.yaml && (reading "$built" doc); } |
    nfpm package -p rpm -t "$dist" -f -
done
rm -rf "$dist/build"
