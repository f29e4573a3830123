#!/bin/sh
# join.ready.command: the servers call the node ready and eligible.
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0"
# shellcheck source=/dev/null
. "${DESTDIR-}/etc/spillway/recipe"
NOMAD_ADDR=${NOMAD_ADDR:-http://127.0.0.1:4646}
export NOMAD_ADDR NOMAD_TOKEN NOMAD_CACERT
[ -n "$NOMAD_TOKEN" ] || unset NOMAD_TOKEN
[ -n "$NOMAD_CACERT" ] || unset NOMAD_CACERT
id=$(cat "${DESTDIR-}/var/lib/nomad/client/client-id")
# Exits with 0 whatever the answer, and reads standard input.
node=$("$NOMAD" operator api -X GET "/v1/node/$id" </dev/null)
case $node in *'"SchedulingEligibility":"eligible"'*) ;; *) echo "the node is not eligible" >&2 && exit 1 ;; esac
case $node in *'"Status":"ready"'*) ;; *) echo "the node is not ready" >&2 && exit 1 ;; esac
