#!/bin/sh
# join.ready.command: the daemon answers, and nobody has begun to let the machine go.
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0"
[ ! -e "${DESTDIR-}/run/spillway/draining" ]
docker version --format '{{.Server.Version}}'
