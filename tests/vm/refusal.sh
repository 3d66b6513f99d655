#!/bin/bash
# Without the memory controller (cgroup_disable=memory), nothing may start.
set -u
cat >/etc/gateway.yaml <<YAML
version: "1.0"
servers:
  cat: {command: cat}
YAML
cp -r bin /opt/bin
if said=$(/opt/bin/mcp-gateway up --config /etc/gateway.yaml 2>&1); then
  echo "it started without the memory controller" >&2
  exit 1
fi
case $said in
*'cgroup controller "memory" is missing'*) echo "refused: $said" | head -n 1 ;;
*) echo "it did not say which controller is missing: $said" >&2; exit 1 ;;
esac
said=$(/opt/bin/mcp-gateway doctor --config /etc/gateway.yaml) && { echo "doctor found nothing missing" >&2; exit 1; }
case $said in
*'missing  memory controller'*'cgroup_disable=memory'*) echo "doctor: $(grep -A1 'missing  memory controller' <<<"$said" | tr -s ' \n' ' ')" ;;
*) echo "doctor did not say that memory is missing: $said" >&2; exit 1 ;;
esac
