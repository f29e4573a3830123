#!/bin/sh
# drain.hooks.beforeDrain: the master offers nothing of the agent any more. Tasks run on: DRAIN_AGENT would kill them.
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0"
# shellcheck source=/dev/null
. "${DESTDIR-}/etc/spillway/recipe"
agent=$(readlink "${DESTDIR-}/var/lib/mesos/meta/slaves/latest")
# The master that does not lead answers with 307, which keeps the call as it is.
printf '{"type":"DEACTIVATE_AGENT","deactivate_agent":{"agent_id":{"value":"%s"}}}' "${agent##*/}" |
  curl -q -fsSL --max-time 60 -K "${DESTDIR-}/etc/spillway/mesos.curl" -H 'Content-Type: application/json' \
    --data-binary @- "$MESOS_API/api/v1"
