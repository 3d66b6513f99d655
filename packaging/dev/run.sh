#!/bin/sh
# Runs a gateway with one server for trying it out, until Ctrl-C. What it makes
# lies in .run/ and in a folder below /tmp that goes with it.
set -eu
cd "$(dirname "$0")/../.."
top=$PWD
umask 022 # a server reads what it is given as a user of its own

if [ "$(id -u)" != 0 ]; then
  echo "make run makes namespaces and cgroups: run it as root (sudo make run)" >&2
  exit 1
fi

mkdir -p .run/state .run/server
project=$(mktemp -d /tmp/mcp-gateway-run.XXXXXX)
trap 'rm -rf "$project"' EXIT
trap : INT TERM # up gets them too, and stops everything; then we go on to the end
echo "Hello from a sandboxed MCP server." >"$project/hello.txt"
# A server never writes as root: the project belongs to whoever called sudo, or to nobody.
owner=${SUDO_UID:-$(id -u nobody)}
chown -R "$owner:${SUDO_GID:-$(id -g nobody)}" "$project"

# Only the mounts below show what lies outside of /usr.
mounts="\"$top/.run/server:/srv/server\""
if command -v npm >/dev/null && command -v node >/dev/null; then
  cp tests/e2e/servers/package.json tests/e2e/servers/package-lock.json .run/server/
  echo "fetching the MCP filesystem server from npm"
  (cd .run/server && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  command=$(readlink -f "$(command -v node)")
  case $command in
  /usr/*) ;;
  *) mounts="$mounts, \"$(dirname "$(dirname "$command")")\"" ;;
  esac
  args="[\"/srv/server/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js\", \"$project\"]"
else
  echo "npm is not here: using the test server instead of a real one"
  CGO_ENABLED=0 go build -o .run/server/testserver ./tests/testserver
  command=/srv/server/testserver
  args="[]"
fi

rm -f .run/mcp-gateway.yaml
cat >.run/mcp-gateway.yaml <<YAML
version: "1.0"
servers:
  files:
    command: "$command"
    args: $args
    mounts: [$mounts]
    allowed_directories: ["$project:rw"]
    eager: true
YAML

bin/mcp-gateway up --config .run/mcp-gateway.yaml --state .run/state --ready-file .run/ready.json --with-key
