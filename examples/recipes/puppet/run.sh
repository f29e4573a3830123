#!/bin/sh
# One run of Puppet: run joining|draining|leaving.
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0" "$@"
# shellcheck source=/dev/null
. "${DESTDIR-}/etc/spillway/recipe"
export FACTER_spillway_state="$1"
code=0
# --test says --detailed-exitcodes: 0 = nothing to do, 2 = done, 4 and 6 = something failed, 1 = there was no run.
timeout 480 "$PUPPET" agent --test --color=false --server "$PUPPET_SERVER" --waitforcert 10 --maxwaitforcert 60 \
  ${PUPPET_ENVIRONMENT:+--environment "$PUPPET_ENVIRONMENT"} || code=$?
case $code in
  0 | 2) ;;
  1 | 124) echo 'not now: the server is away, has not signed the certificate, or another run is under way' >&2 && exit 75 ;;
  *) echo "puppet could not do everything (exit code $code)" >&2 && exit 1 ;;
esac
