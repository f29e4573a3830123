#!/bin/sh
# One run of Ansible: run joining|draining|leaving.
set -eu
[ "$(id -u)" -eq 0 ] || exec sudo -n "$0" "$@"
# shellcheck source=/dev/null
. "${DESTDIR-}/etc/spillway/recipe"
ansible=${DESTDIR-}/etc/spillway/ansible
export GIT_TERMINAL_PROMPT=0
timeout 60 git ls-remote --quiet "$PULL_REPO" HEAD >/dev/null || {
  echo "not now: $PULL_REPO does not answer" >&2
  exit 75
}
code=0
timeout 480 ansible-pull --url "$PULL_REPO" --checkout "$PULL_REF" --directory "${DESTDIR-}/var/lib/spillway/ansible" \
  --inventory localhost, --connection local --extra-vars "@$ansible/vars.json" --extra-vars "spillway_state=$1" \
  ${PULL_VAULT:+--vault-password-file "$ansible/vault-password"} "$PULL_PLAYBOOK" || code=$?
case $code in
  0) ;;
  124) echo 'not now: the run took more than 8 minutes' >&2 && exit 75 ;;
  *) echo "ansible could not do everything (exit code $code)" >&2 && exit 1 ;;
esac
