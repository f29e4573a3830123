#!/bin/sh
# SPILLWAY_PROBE: how many tasks Mesos has on this agent.
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0"
all=$(curl -q -fsS --max-time 4 -K "${DESTDIR-}/etc/spillway/mesos.curl" http://127.0.0.1:5051/metrics/snapshot)
printf '%s\n' "$all" | tr -d '\134 {}' | tr ',' '\n' |
  awk -F: '/^"slave\/tasks_(running|staging|starting|killing)":/ { seen++; n += $2 } END { if (seen < 3) exit 1; printf "%d\n", n }'
