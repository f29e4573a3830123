#!/bin/sh
# drain.hooks.beforeTerminate: the node is taken from the cluster.
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0"
# shellcheck source=/dev/null
. "${DESTDIR-}/etc/spillway/recipe"
export KUBECONFIG="${DESTDIR-}/etc/spillway/kubeconfig"
node=$(hostname | tr '[:upper:]' '[:lower:]')
# KUBECTL may be two words: k3s brings its own kubectl.
# First, because a kubelet that runs would report the node anew.
systemctl stop "$KUBE_UNIT"
$KUBECTL delete node "$node" --ignore-not-found --wait=false --request-timeout=60s
