#!/bin/sh
# Hands the machine over to Ansible by ansible-pull: one run now, and one as it leaves.
#   PULL_REPO                                     URL of the git repository
#   PULL_REF                                      a whole commit id, which pins every byte; or a branch or tag
#   PULL_PLAYBOOK                                 default local.yml
#   PULL_VARS                                     variables, as JSON
#   PULL_VAULT_PASSWORD, PULL_VAULT_PASSWORD_FILE
#   PULL_PACKAGES                                 default: git and ansible (ansible-core with dnf)
# Playbooks find the variable `spillway_state`: joining, draining or leaving.
set -eu
# shellcheck source-path=SCRIPTDIR source=../common.sh
. ./recipe/common.sh
need PULL_REPO PULL_REF
one_line PULL_REPO PULL_PLAYBOOK
plain PULL_REF
case $PULL_REPO$PULL_REF in -*) die 2 'PULL_REPO and PULL_REF cannot begin with -' ;; esac
secret PULL_VAULT_PASSWORD

if ! command -v ansible-pull >/dev/null || ! command -v git >/dev/null; then
  if command -v apt-get >/dev/null; then default='git ansible'; else default='git ansible-core'; fi
  # shellcheck disable=SC2086 # one word each
  packages ${PULL_PACKAGES:-$default}
fi
vars=${PULL_VARS-}
[ -n "$vars" ] || vars='{}'
put 0600 /etc/spillway/ansible/vars.json <<END
$vars
END
vault=
if [ -n "$secret" ]; then
  put 0600 /etc/spillway/ansible/vault-password <<END
$secret
END
  vault=yes
fi
remember "PULL_REPO=$PULL_REPO" "PULL_REF=$PULL_REF" "PULL_PLAYBOOK=${PULL_PLAYBOOK:-local.yml}" "PULL_VAULT=$vault"
halves run drain leave
"$root/usr/local/lib/spillway/run" joining
finish
