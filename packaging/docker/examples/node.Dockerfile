# The daemon with Node, for servers from npm: what "image: host" shows to servers is
# this image's /usr. Python is the same with python:3.13-slim-bookworm, and a program of
# your own is a COPY into /usr/local or /opt.
#
#   make docker-build
#   docker build -t daemon-node:1 -f packaging/docker/examples/node.Dockerfile packaging/docker/examples
#
# To pin both bases, name their digests: node:22-bookworm-slim@sha256:…
ARG DAEMON=mcp-gateway/daemon:0.1.0
FROM ${DAEMON} AS daemon

FROM node:22-bookworm-slim
# Programs, users, certificate authorities, configuration and mount points; not /bin,
# /lib and /sbin, which are links in both. Servers run as users of no name at all: those
# of the base are not needed.
COPY --from=daemon /usr/bin/ /usr/bin/
COPY --from=daemon /usr/libexec/ /usr/libexec/
COPY --from=daemon /usr/share/doc/mcp-gateway/ /usr/share/doc/mcp-gateway/
COPY --from=daemon /etc/ /etc/
COPY --from=daemon /run/ /run/
COPY --from=daemon /var/ /var/
# Servers, as root and read-only, at a fixed version. In the configuration:
#   servers:
#     files: {command: mcp-server-filesystem, args: [/srv/data], allowed_directories: ["/srv/data:rw"]}
RUN npm install --global --ignore-scripts @modelcontextprotocol/server-filesystem@2026.8.31 && npm cache clean --force
USER 0:0
ENTRYPOINT ["/usr/bin/mcp-gatewayd", "-listen", "/run/mcp-gateway/control.sock", "-launcher", "/usr/libexec/mcp-gateway/mcp-gateway-launch"]
# Node's own.
CMD []
