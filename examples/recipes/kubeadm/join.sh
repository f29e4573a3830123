#!/bin/sh
# A worker of a Kubernetes cluster that kubeadm made.
#   KUBE_API_SERVER                    HOST:PORT of the control plane
#   KUBE_TOKEN, KUBE_TOKEN_FILE        bootstrap token (kubeadm token create); live as long as machines are to join
#   KUBE_CA_HASH                       sha256:... of the cluster's authority, which proves the control plane
#   KUBE_DRAINER, KUBE_DRAINER_FILE    a kubeconfig with the rights of rbac.yaml, to cordon and drain by
#   KUBE_LABELS                        of the node, such as "site=cloud,pool=render"
#   KUBE_VERSION, KUBE_KEY_SHA256      such as 1.31, and the checksum of that repository's Release.key; not needed when the
#                                      image has containerd, kubelet, kubeadm and kubectl
set -eu
# shellcheck source-path=SCRIPTDIR source=../common.sh
. ./recipe/common.sh
need KUBE_API_SERVER KUBE_CA_HASH
plain KUBE_API_SERVER KUBE_CA_HASH KUBE_LABELS KUBE_VERSION KUBE_KEY_SHA256
need_secret KUBE_DRAINER
drainer=$secret
need_secret KUBE_TOKEN
case $secret in *[!a-z0-9.]*) die 2 'KUBE_TOKEN is not a bootstrap token' ;; esac

if ! command -v kubeadm >/dev/null || ! command -v kubelet >/dev/null || ! command -v containerd >/dev/null; then
  need KUBE_VERSION KUBE_KEY_SHA256
  command -v apt-get >/dev/null || die 2 'kubeadm is installed from packages on Debian and Ubuntu only: take an image that has it'
  packages ca-certificates curl containerd
  from=https://pkgs.k8s.io/core:/stable:/v$KUBE_VERSION/deb
  fetch "$from/Release.key" "$KUBE_KEY_SHA256" 0644 /etc/apt/keyrings/kubernetes.asc
  put 0644 /etc/apt/sources.list.d/kubernetes.list <<END
deb [signed-by=/etc/apt/keyrings/kubernetes.asc] $from/ /
END
  packages kubelet kubeadm kubectl
  apt-mark hold kubelet kubeadm kubectl
fi

put 0644 /etc/modules-load.d/spillway.conf <<END
overlay
br_netfilter
END
modprobe -a overlay br_netfilter
put 0644 /etc/sysctl.d/90-spillway.conf <<END
net.bridge.bridge-nf-call-iptables = 1
net.bridge.bridge-nf-call-ip6tables = 1
net.ipv4.ip_forward = 1
END
sysctl -q --system
swapoff -a
# kubelet and containerd must agree on who makes cgroups.
if [ ! -f "$root/etc/containerd/config.toml" ] || ! grep -q 'SystemdCgroup = true' "$root/etc/containerd/config.toml"; then
  config=$(containerd config default | sed 's/SystemdCgroup = false/SystemdCgroup = true/')
  put 0644 /etc/containerd/config.toml <<END
$config
END
fi
start containerd.service /etc/containerd/config.toml

if command -v apt-get >/dev/null; then defaults=/etc/default/kubelet; else defaults=/etc/sysconfig/kubelet; fi
labels=
[ -z "${KUBE_LABELS-}" ] || labels=--node-labels=$KUBE_LABELS
put 0644 "$defaults" <<END
KUBELET_EXTRA_ARGS=$labels
END
put 0600 /etc/spillway/kubeconfig <<END
$drainer
END
remember KUBECTL=kubectl KUBE_UNIT=kubelet.service
halves ready drain leave probe

if [ ! -f "$root/etc/kubernetes/kubelet.conf" ]; then
  reachable "https://$KUBE_API_SERVER/livez" 'the control plane'
  # The newest words that the installed kubeadm knows. The token stays off the command line, which everyone can read.
  words=$(kubeadm config print join-defaults | sed -n 's/^apiVersion: *//p' | head -n 1)
  put 0600 /etc/spillway/kubeadm-join.yaml <<END
apiVersion: $words
kind: JoinConfiguration
discovery:
  bootstrapToken:
    apiServerEndpoint: "$KUBE_API_SERVER"
    token: "$secret"
    caCertHashes: ["$KUBE_CA_HASH"]
END
  # What a join that was cut in between left would make the next one refuse.
  timeout 60 kubeadm reset --force >/dev/null 2>&1 || say 'there was nothing to reset'
  timeout 200 kubeadm join --config "$root/etc/spillway/kubeadm-join.yaml" || die 1 'kubeadm join failed'
  rm -f "$root/etc/spillway/kubeadm-join.yaml"
  changed=$((changed + 1))
fi
tell_agent SPILLWAY_PROBE=/usr/local/lib/spillway/probe
finish
