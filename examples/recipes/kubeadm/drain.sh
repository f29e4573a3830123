#!/bin/sh
# drain.hooks.beforeDrain: no more pods come, and pods of services move elsewhere, as their disruption budgets allow, for as long as
# that takes. Pods of jobs run to their end, and pods that nobody would make again too: the probe waits for them.
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0"
# shellcheck source=/dev/null
. "${DESTDIR-}/etc/spillway/recipe"
export KUBECONFIG="${DESTDIR-}/etc/spillway/kubeconfig"
node=$(hostname | tr '[:upper:]' '[:lower:]')
# KUBECTL may be two words: k3s brings its own kubectl.
$KUBECTL cordon "$node" --request-timeout=60s
# shellcheck disable=SC2086 # two words with k3s
# In the background: a disruption budget may hold a pod for longer than a hook may take.
systemctl is-active --quiet spillway-evict.service ||
  systemd-run --quiet --collect --unit=spillway-evict --property=Restart=on-failure --property=RestartSec=30 \
    --setenv="KUBECONFIG=$KUBECONFIG" $KUBECTL drain "$node" --ignore-daemonsets --delete-emptydir-data '--pod-selector=!job-name'
