#!/bin/sh
# drain.hooks.beforeDrain: no more allocations come, services move, and batch jobs run to their end, for which the probe waits.
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0"
# shellcheck source=/dev/null
. "${DESTDIR-}/etc/spillway/recipe"
NOMAD_ADDR=${NOMAD_ADDR:-http://127.0.0.1:4646}
export NOMAD_ADDR NOMAD_TOKEN NOMAD_CACERT
[ -n "$NOMAD_TOKEN" ] || unset NOMAD_TOKEN
[ -n "$NOMAD_CACERT" ] || unset NOMAD_CACERT
"$NOMAD" node drain -enable -self -no-deadline -ignore-system -detach -yes
