#!/bin/sh
# Builds the images of both roles with the engine that is here: docker, podman or
# buildah, the first that works, or the one that ENGINE names.
#
#   build.sh VERSION [OPTION...]    the options go to the engine's build, such as --no-cache
#
# The images are mcp-gateway/daemon:VERSION and mcp-gateway/proxy:VERSION. PREFIX is
# another name than mcp-gateway, such as that of a registry. Two builds of one commit
# have the same content: SOURCE_DATE_EPOCH is the commit's time.
set -eu
[ $# -ge 1 ] || { sed -n 2,10p "$0" >&2; exit 2; }
version=$1
shift
cd "$(dirname "$0")/../.."

works() {
  command -v "$1" >/dev/null || return 1
  case $1 in
  docker) docker version --format '{{.Server.Version}}' >/dev/null 2>&1 ;;
  *) "$1" info >/dev/null 2>&1 ;;
  esac
}

engine=
for candidate in ${ENGINE:-docker podman buildah}; do
  if works "$candidate"; then
    engine=$candidate
    break
  fi
  if command -v "$candidate" >/dev/null; then
    echo "docker-build: $candidate is here, but does not work: is its service running, and may this user use it ($candidate info)?" >&2
  fi
done
if [ -z "$engine" ]; then
  echo "docker-build: no container engine works here: install one (apt-get install buildah, or podman, or Docker Engine)," >&2
  echo "or make the images' contents alone: make build && packaging/docker/rootfs.sh daemon DIR" >&2
  exit 1
fi

epoch=$(packaging/epoch.sh)
for role in daemon proxy; do
  image=${PREFIX:-mcp-gateway}/$role:$version
  set -- --file packaging/docker/Dockerfile --target "$role" --tag "$image" \
    --build-arg "VERSION=$version" --build-arg "SOURCE_DATE_EPOCH=$epoch" "$@"
  case $engine in
  docker) DOCKER_BUILDKIT=1 docker build "$@" . ;;
  podman) podman build --timestamp "$epoch" --ignorefile packaging/docker/Dockerfile.dockerignore "$@" . ;;
  buildah) buildah build --layers --timestamp "$epoch" --ignorefile packaging/docker/Dockerfile.dockerignore "$@" . ;;
  esac
  shift 10
  echo "built $image with $engine"
done
