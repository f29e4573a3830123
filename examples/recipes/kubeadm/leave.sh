#!/bin/sh
# drain.hooks.beforeTerminate: the node is taken from the cluster.
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0"
# shellcheck source=/dev/null
. "${DESTDIR-}/etc/spillway/recipe"
export KUBECONFIG="${DESTDIR-}/etc/spillway/kubeconfig"
node=$(hostname | tr '[:upper:]' '[:lower:]')
# The drain may have failed, and work may have come since: the node is closed once more and asked. Spillway tries again for ten minutes.
# KUBECTL may be two words: k3s brings its own kubectl.
$KUBECTL cordon "$node" --request-timeout=60s
[ "$(sh "${0%/*}/probe")" = 0 ] || {
  echo 'work runs here: not yet' >&2
  exit 1
}
# First, because a kubelet that runs would report the node anew.
systemctl stop "$KUBE_UNIT"
$KUBECTL delete node "$node" --ignore-not-found --wait=false --request-timeout=60s
