#!/bin/sh
# A Mesos agent (1.9 or newer, which can be deactivated). Mesos has no repository of packages any more: the image has mesos-agent, or you name one.
#   MESOS_MASTER               as for mesos-agent: zk://HOST:PORT,.../mesos or HOST:PORT
#   MESOS_API                  http(s)://HOST:PORT of a master, any: the leader is found from there
#   MESOS_API_USER             NAME:PASSWORD for masters and agents that ask for one; or MESOS_API_USER_FILE
#   MESOS_ATTRIBUTES           such as "site:cloud;rack:a1"
#   MESOS_DOMAIN               fault domain as JSON: only frameworks that know regions get a remote one
#   MESOS_PACKAGE_URL, MESOS_PACKAGE_SHA256   a .deb or .rpm
set -eu
# shellcheck source-path=SCRIPTDIR source=../common.sh
. ./recipe/common.sh
need MESOS_MASTER MESOS_API
plain MESOS_API
one_line MESOS_MASTER MESOS_ATTRIBUTES MESOS_DOMAIN
secret MESOS_API_USER

if ! command -v mesos-agent >/dev/null; then
  need MESOS_PACKAGE_URL MESOS_PACKAGE_SHA256
  package=/var/cache/spillway/${MESOS_PACKAGE_URL##*/}
  fetch "$MESOS_PACKAGE_URL" "$MESOS_PACKAGE_SHA256" 0644 "$package"
  if command -v apt-get >/dev/null; then
    timeout 600 apt-get -q -y -o DPkg::Lock::Timeout=60 install "$root$package" || later "apt did not install $package"
  else
    timeout 600 dnf -q -y install "$root$package" || later "dnf did not install $package"
  fi
fi
agent=$(command -v mesos-agent) || die 1 'there is no mesos-agent after its package was installed'

# flag NAME VALUE: mesos-agent reads its flags from the environment, too; an empty one would count.
flag() { [ -z "$2" ] || printf '%s=%s\n' "$1" "$(unit_value "$2")"; }
put 0600 /etc/spillway/mesos-agent.env <<END
$(flag MESOS_MASTER "$MESOS_MASTER")
$(flag MESOS_WORK_DIR /var/lib/mesos)
$(flag MESOS_PORT 5051)
$(flag MESOS_ATTRIBUTES "${MESOS_ATTRIBUTES-}")
$(flag MESOS_DOMAIN "${MESOS_DOMAIN-}")
END
put 0644 /etc/systemd/system/mesos-agent.service <<END
[Unit]
Description=Mesos agent
After=network-online.target
Wants=network-online.target
[Service]
EnvironmentFile=/etc/spillway/mesos-agent.env
ExecStart=$agent
KillMode=control-group
Restart=always
RestartSec=20
LimitNOFILE=65536
CPUAccounting=true
MemoryAccounting=true
Delegate=true
[Install]
WantedBy=multi-user.target
END
# A command line can be read by everyone, this file by root.
user=
# shellcheck disable=SC2154 # set by `secret`
[ -z "$secret" ] || user="user = \"$(printf '%s' "$secret" | sed 's/[\\"]/\\&/g')\""
put 0600 /etc/spillway/mesos.curl <<END
$user
END
remember "MESOS_API=$MESOS_API"
halves ready drain leave probe
start mesos-agent.service /etc/spillway/mesos-agent.env /etc/systemd/system/mesos-agent.service
tell_agent SPILLWAY_PROBE=/usr/local/lib/spillway/probe
finish
