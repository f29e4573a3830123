#!/bin/sh
# drain.hooks.beforeDrain: a run that is told so; it takes the machine out of load balancers, monitoring and the like.
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0"
exec "${DESTDIR-}/usr/local/lib/spillway/run" draining
