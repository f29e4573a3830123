#!/bin/sh
# A Nomad client.
#   NOMAD_SERVERS                   host[:port] of servers, with commas between
#   NOMAD_DATACENTER                default dc1
#   NOMAD_NODE_CLASS                default: none
#   NOMAD_CONFIG                    more configuration in HCL (TLS, drivers, meta), as text
#   NOMAD_TOKEN, NOMAD_TOKEN_FILE   with ACLs: a token with node:write and, for all namespaces, read-job
#   NOMAD_ADDR, NOMAD_CACERT        how the client's own API is reached; default http://127.0.0.1:4646
#   NOMAD_VERSION, NOMAD_SHA256     release to fetch, and the checksum of its .zip; not needed when the image has nomad
set -eu
# shellcheck source-path=SCRIPTDIR source=../common.sh
. ./recipe/common.sh
need NOMAD_SERVERS
plain NOMAD_SERVERS NOMAD_DATACENTER NOMAD_NODE_CLASS NOMAD_ADDR NOMAD_CACERT NOMAD_VERSION NOMAD_SHA256
secret NOMAD_TOKEN

if [ -n "${NOMAD_VERSION-}" ]; then
  need NOMAD_SHA256
  know_arch
  zip=/var/cache/spillway/nomad_${NOMAD_VERSION}_linux_$arch.zip
  fetch "https://releases.hashicorp.com/nomad/$NOMAD_VERSION/${zip##*/}" "$NOMAD_SHA256" 0644 "$zip"
  command -v unzip >/dev/null || packages unzip
  (umask 077 && unzip -p "$root$zip" nomad >"$root/var/cache/spillway/nomad")
  put 0755 /usr/local/bin/nomad <"$root/var/cache/spillway/nomad"
  rm -f "$root/var/cache/spillway/nomad"
  nomad=/usr/local/bin/nomad called=$root/usr/local/bin/nomad
else
  nomad=$(command -v nomad) || die 2 'the image has no nomad, and NOMAD_VERSION is missing: set it in join.recipe.env'
  called=$nomad
fi

put 0600 /etc/spillway/nomad/client.json <<END
{
  "data_dir": "/var/lib/nomad",
  "datacenter": "${NOMAD_DATACENTER:-dc1}",
  "client": {
    "enabled": true,
    "node_class": "${NOMAD_NODE_CLASS-}",
    "servers": [$(listed "$NOMAD_SERVERS")]
  }
}
END
put 0600 /etc/spillway/nomad/more.hcl <<END
${NOMAD_CONFIG-}
END
put 0644 /etc/systemd/system/nomad.service <<END
[Unit]
Description=Nomad client
After=network-online.target
Wants=network-online.target
[Service]
ExecStart=$nomad agent -config=/etc/spillway/nomad
KillMode=process
KillSignal=SIGINT
LimitNOFILE=65536
OOMScoreAdjust=-1000
Restart=on-failure
RestartSec=2
TasksMax=infinity
[Install]
WantedBy=multi-user.target
END
# shellcheck disable=SC2154 # set by `secret`
remember "NOMAD=$called" "NOMAD_TOKEN=$secret" "NOMAD_ADDR=${NOMAD_ADDR-}" "NOMAD_CACERT=${NOMAD_CACERT-}"
halves ready drain leave probe
start nomad.service /etc/spillway/nomad/client.json /etc/spillway/nomad/more.hcl /etc/systemd/system/nomad.service \
  ${NOMAD_VERSION:+/usr/local/bin/nomad}
tell_agent SPILLWAY_PROBE=/usr/local/lib/spillway/probe
finish
