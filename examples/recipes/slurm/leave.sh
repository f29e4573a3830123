#!/bin/sh
# drain.hooks.beforeTerminate: the node is taken from the controller's list, which refuses while a job is there. Never State=DOWN: that
# would kill a job that came although the drain half failed.
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0"
node=$(hostname -s)
# Without a controller nobody knows whether the node is gone: this is tried again.
scontrol ping | grep -q UP
if scontrol show node "$node" >/dev/null 2>&1; then
  scontrol update "NodeName=$node" State=DRAIN 'Reason=Spillway lets the machine go'
  scontrol delete "NodeName=$node"
fi
systemctl stop slurmd.service
