#!/bin/sh
# drain.hooks.beforeTerminate: the client says goodbye; servers forget the node by themselves (node_gc_threshold).
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0"
# shellcheck source=/dev/null
. "${DESTDIR-}/etc/spillway/recipe"
NOMAD_ADDR=${NOMAD_ADDR:-http://127.0.0.1:4646}
export NOMAD_ADDR NOMAD_TOKEN NOMAD_CACERT
[ -n "$NOMAD_TOKEN" ] || unset NOMAD_TOKEN
[ -n "$NOMAD_CACERT" ] || unset NOMAD_CACERT
# The drain may have failed, and work may have come since: the node is closed once more and asked. Spillway tries again for ten minutes.
"$NOMAD" node eligibility -disable -self
[ "$(sh "${0%/*}/probe")" = 0 ] || {
  echo 'work runs here: not yet' >&2
  exit 1
}
systemctl stop nomad.service
