#!/bin/sh
# A dynamic node of a Slurm cluster (22.05 or newer, configless, SelectType=select/cons_tres, MaxNodeCount above what you have).
#   SLURM_CONTROLLER            host[:port] of slurmctld, several with commas between
#   MUNGE_KEY, MUNGE_KEY_FILE   the cluster's munge key in base64, or a file that holds that
#   SLURM_NODE_CONF             what the node says about itself beside its hardware, such as "Feature=cloud Gres=gpu:2"
#   SLURM_PACKAGES              default: those of Debian and Ubuntu, or of EPEL
set -eu
# shellcheck source-path=SCRIPTDIR source=../common.sh
. ./recipe/common.sh
need SLURM_CONTROLLER
plain SLURM_CONTROLLER
one_line SLURM_NODE_CONF
need_secret MUNGE_KEY

if ! command -v slurmd >/dev/null || ! command -v munged >/dev/null; then
  if command -v apt-get >/dev/null; then default='slurmd slurm-client munge'; else default='slurm-slurmd slurm munge'; fi
  # shellcheck disable=SC2086 # one word each
  packages ${SLURM_PACKAGES:-$default}
fi
slurmd=$(command -v slurmd) || die 1 'there is no slurmd after its packages were installed'

(umask 077 && mkdir -p "$root/etc/munge" && printf '%s' "$secret" | base64 -d >"$root/etc/munge/draft") ||
  die 2 'MUNGE_KEY is not base64'
put 0400 /etc/munge/munge.key <"$root/etc/munge/draft"
rm -f "$root/etc/munge/draft"
chown munge:munge "$root/etc/munge" "$root/etc/munge/munge.key"
start munge.service /etc/munge/munge.key

conf=
# shellcheck disable=SC2016 # systemd fills it in, as one word whatever it holds
[ -z "${SLURM_NODE_CONF-}" ] || conf=' --conf ${SLURM_NODE_CONF}'
put 0600 /etc/spillway/slurmd.env <<END
SLURM_CONTROLLER=$(unit_value "$SLURM_CONTROLLER")
SLURM_NODE_CONF=$(unit_value "${SLURM_NODE_CONF-}")
END
# The distributions' unit wants a slurm.conf, which a configless node does not have.
put 0644 /etc/systemd/system/slurmd.service.d/spillway.conf <<END
[Unit]
ConditionPathExists=
[Service]
Type=simple
EnvironmentFile=/etc/spillway/slurmd.env
ExecStart=
ExecStart=$slurmd -D -Z --conf-server \${SLURM_CONTROLLER}$conf
END
halves ready drain leave probe
start slurmd.service /etc/spillway/slurmd.env /etc/systemd/system/slurmd.service.d/spillway.conf
tell_agent SPILLWAY_PROBE=/usr/local/lib/spillway/probe
finish
