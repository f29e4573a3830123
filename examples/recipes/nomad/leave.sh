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
"$NOMAD" node eligibility -disable -self
systemctl stop nomad.service
