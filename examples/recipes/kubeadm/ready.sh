#!/bin/sh
# join.ready.command: the cluster calls the node ready.
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0"
# shellcheck source=/dev/null
. "${DESTDIR-}/etc/spillway/recipe"
export KUBECONFIG="${DESTDIR-}/etc/spillway/kubeconfig"
node=$(hostname | tr '[:upper:]' '[:lower:]')
# KUBECTL may be two words: k3s brings its own kubectl.
ready=$($KUBECTL get node "$node" --request-timeout=20s -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')
[ "$ready" = True ] || { echo "the cluster says of $node: ready is ${ready:-unknown}" >&2 && exit 1; }
