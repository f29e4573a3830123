#!/bin/sh
# SPILLWAY_PROBE: how many pods are here, without those of daemon sets and static ones, which live as long as the node.
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0"
# shellcheck source=/dev/null
. "${DESTDIR-}/etc/spillway/recipe"
export KUBECONFIG="${DESTDIR-}/etc/spillway/kubeconfig"
node=$(hostname | tr '[:upper:]' '[:lower:]')
# KUBECTL may be two words: k3s brings its own kubectl.
pods=$($KUBECTL get pods --all-namespaces --request-timeout=4s \
  --field-selector "spec.nodeName=$node,status.phase!=Succeeded,status.phase!=Failed" \
  -o 'go-template={{range .items}}pod {{with .metadata.ownerReferences}}{{(index . 0).kind}}{{end}}{{"\n"}}{{end}}')
printf '%s' "$pods" | awk '$2 != "DaemonSet" && $2 != "Node" { n++ } END { print n + 0 }'
