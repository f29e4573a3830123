#!/bin/sh
# drain.hooks.beforeTerminate: the master forgets the agent at once, instead of waiting for it.
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0"
# shellcheck source=/dev/null
. "${DESTDIR-}/etc/spillway/recipe"
agent=$(readlink "${DESTDIR-}/var/lib/mesos/meta/slaves/latest")
# The master that does not lead answers with 307, which keeps the call as it is.
printf '{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":"%s"}}}' "${agent##*/}" |
  curl -q -fsSL --max-time 60 -K "${DESTDIR-}/etc/spillway/mesos.curl" -H 'Content-Type: application/json' \
    --data-binary @- "$MESOS_API/api/v1"
systemctl stop mesos-agent.service
