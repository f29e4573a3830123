#!/bin/sh
# A Docker host.
#   DOCKER_DAEMON_JSON   text of /etc/docker/daemon.json; default: the distribution's
set -eu
# shellcheck source-path=SCRIPTDIR source=../common.sh
. ./recipe/common.sh

if ! command -v dockerd >/dev/null; then
  if command -v apt-get >/dev/null; then packages docker.io; else packages docker; fi
fi
if [ -n "${DOCKER_DAEMON_JSON-}" ]; then
  put 0600 /etc/docker/daemon.json <<END
$DOCKER_DAEMON_JSON
END
  set -- /etc/docker/daemon.json
fi
halves ready drain leave probe
start docker.service "$@"
tell_agent SPILLWAY_PROBE=/usr/local/lib/spillway/probe
finish
