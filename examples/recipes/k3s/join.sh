#!/bin/sh
# A worker (agent) of a k3s cluster.
#   K3S_URL                          https://HOST:6443 of a server
#   K3S_TOKEN, K3S_TOKEN_FILE        the agents' token; one that begins with K10 proves the server, too
#   KUBE_DRAINER, KUBE_DRAINER_FILE  a kubeconfig with the rights of ../kubeadm/rbac.yaml, to cordon and drain by
#   K3S_LABELS                       of the node, such as "site=cloud,pool=render"
#   K3S_VERSION, K3S_SHA256          release to fetch, such as v1.31.4+k3s1, and the checksum of its binary; not needed when the image
#                                    has /usr/local/bin/k3s
set -eu
# shellcheck source-path=SCRIPTDIR source=../common.sh
. ./recipe/common.sh
need K3S_URL
plain K3S_URL K3S_LABELS K3S_VERSION K3S_SHA256
need_secret KUBE_DRAINER
drainer=$secret
need_secret K3S_TOKEN

if [ -n "${K3S_VERSION-}" ]; then
  need K3S_SHA256
  know_arch
  case $arch in amd64) file=k3s ;; *) file=k3s-$arch ;; esac
  fetch "https://github.com/k3s-io/k3s/releases/download/$(printf '%s' "$K3S_VERSION" | sed 's/+/%2B/g')/$file" "$K3S_SHA256" \
    0755 /usr/local/bin/k3s
fi
[ -x "$root/usr/local/bin/k3s" ] || die 2 'the image has no /usr/local/bin/k3s, and K3S_VERSION is missing: set it in join.recipe.env'

put 0600 /etc/spillway/k3s-token <<END
$secret
END
put 0600 /etc/spillway/kubeconfig <<END
$drainer
END
put 0600 /etc/rancher/k3s/config.yaml <<END
server: "$K3S_URL"
token-file: /etc/spillway/k3s-token
node-label: [$(listed "${K3S_LABELS-}")]
END
put 0644 /etc/systemd/system/k3s-agent.service <<END
[Unit]
Description=k3s agent
After=network-online.target
Wants=network-online.target
[Service]
Type=notify
ExecStart=/usr/local/bin/k3s agent
KillMode=process
Delegate=yes
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
[Install]
WantedBy=multi-user.target
END
remember "KUBECTL=$root/usr/local/bin/k3s kubectl" KUBE_UNIT=k3s-agent.service
halves ready drain leave probe
reachable "$K3S_URL/ping" 'the server'
start k3s-agent.service /etc/spillway/k3s-token /etc/rancher/k3s/config.yaml /etc/systemd/system/k3s-agent.service /usr/local/bin/k3s
tell_agent SPILLWAY_PROBE=/usr/local/lib/spillway/probe
finish
