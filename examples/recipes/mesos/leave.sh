#!/bin/sh
# drain.hooks.beforeTerminate: the master forgets the agent at once, instead of waiting for it.
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0"
# shellcheck source=/dev/null
. "${DESTDIR-}/etc/spillway/recipe"
agent=$(readlink "${DESTDIR-}/var/lib/mesos/meta/slaves/latest")
# tell CALL: the master that does not lead answers with 307, which keeps the call as it is.
tell() {
  printf '%s' "$1" | curl -q -fsSL --max-time 60 -K "${DESTDIR-}/etc/spillway/mesos.curl" -H 'Content-Type: application/json' \
    --data-binary @- "$MESOS_API/api/v1"
}
id='{"agent_id":{"value":"'${agent##*/}'"}}'
# The drain may have failed, and work may have come since: the node is closed once more and asked. Spillway tries again for ten minutes.
tell '{"type":"DEACTIVATE_AGENT","deactivate_agent":'"$id"'}'
[ "$(sh "${0%/*}/probe")" = 0 ] || {
  echo 'work runs here: not yet' >&2
  exit 1
}
tell '{"type":"MARK_AGENT_GONE","mark_agent_gone":'"$id"'}'
systemctl stop mesos-agent.service
