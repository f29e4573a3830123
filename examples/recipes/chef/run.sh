#!/bin/sh
# One run of Chef: run joining|draining|leaving.
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0" "$@"
# shellcheck source=/dev/null
. "${DESTDIR-}/etc/spillway/recipe"
chef=${DESTDIR-}/etc/spillway/chef
list=
[ -z "$CHEF_RUN_LIST" ] || list=", \"run_list\": [\"$(printf '%s' "$CHEF_RUN_LIST" | sed 's/,/", "/g')\"]"
printf '{ "spillway": { "state": "%s" }%s }\n' "$1" "$list" >"$chef/attributes.json"
code=0
timeout 480 "$CHEF_CLIENT" --config "$chef/client.rb" --json-attributes "$chef/attributes.json" || code=$?
case $code in
  0) ;;
  35) echo 'not now: the recipes have the machine restart' >&2 && exit 75 ;;
  124) echo 'not now: the run took more than 8 minutes' >&2 && exit 75 ;;
  37) echo 'the recipes want a restart, and leave it to somebody else' >&2 && exit 1 ;;
  *) echo "chef could not do everything (exit code $code)" >&2 && exit 1 ;;
esac
