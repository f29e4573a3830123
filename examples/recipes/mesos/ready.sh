#!/bin/sh
# join.ready.command: the agent is registered with the master.
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0"
curl -q -fsS --max-time 20 -K "${DESTDIR-}/etc/spillway/mesos.curl" http://127.0.0.1:5051/metrics/snapshot |
  tr -d '\134' | grep -Eq '"slave/registered": ?1'
