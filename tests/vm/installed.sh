# Shared by the scripts that use an installed gateway: its files are put where a package
# puts them. Sourced by bash, in the checkout.

install_gateway() {
  install -D -t /usr/bin bin/mcp-gateway bin/mcp-gatewayd bin/mcp-gateway-proxy
  install -D -t /usr/libexec/mcp-gateway bin/mcp-gateway-launch bin/mcp-gateway-vault
  mkdir -p /usr/lib/systemd/system-generators
  ln -sf /usr/bin/mcp-gateway /usr/lib/systemd/system-generators/mcp-gateway-generator
  install -D -m 644 -t /usr/lib/systemd/system systemd/*.service systemd/*.socket
  install -D -m 644 systemd/mcp-gateway.sysusers /usr/lib/sysusers.d/mcp-gateway.conf
  systemd-sysusers mcp-gateway.conf
  install -D -m 644 -t /etc/mcp-gateway packaging/mcp-gateway.yaml packaging/policies.yaml
  systemctl daemon-reload
}
