#!/bin/sh
# Hands the machine over to Chef Infra or Cinc: one run now, and one as it leaves.
#   CHEF_SERVER_URL                                 such as https://chef.example/organizations/render
#   CHEF_VALIDATION_CLIENT                          such as render-validator
#   CHEF_VALIDATION_KEY, CHEF_VALIDATION_KEY_FILE   its key; gone from the machine after the first run
#   CHEF_POLICY_NAME, CHEF_POLICY_GROUP             a policy file's name and group, or
#   CHEF_RUN_LIST                                   such as "role[render],recipe[scratch]"
#   CHEF_LICENSE                                    accept, where you use Chef's own builds and do
#   CHEF_CLIENT                                     default chef-client; cinc-client
#   CHEF_PACKAGE_URL, CHEF_PACKAGE_SHA256           a .deb or .rpm; not needed when the image has the client
# Recipes find node['spillway']['state']: joining, draining or leaving.
set -eu
# shellcheck source-path=SCRIPTDIR source=../common.sh
. ./recipe/common.sh
need CHEF_SERVER_URL CHEF_VALIDATION_CLIENT
plain CHEF_SERVER_URL CHEF_VALIDATION_CLIENT CHEF_POLICY_NAME CHEF_POLICY_GROUP CHEF_LICENSE
case ${CHEF_RUN_LIST-} in *[!A-Za-z0-9_,:@.[\]-]*) die 2 'CHEF_RUN_LIST is not a run list' ;; esac
[ -n "${CHEF_RUN_LIST-}" ] || need CHEF_POLICY_NAME CHEF_POLICY_GROUP

CHEF_CLIENT=${CHEF_CLIENT:-chef-client}
if ! command -v "$CHEF_CLIENT" >/dev/null; then
  need CHEF_PACKAGE_URL CHEF_PACKAGE_SHA256
  package=/var/cache/spillway/${CHEF_PACKAGE_URL##*/}
  fetch "$CHEF_PACKAGE_URL" "$CHEF_PACKAGE_SHA256" 0644 "$package"
  if command -v dpkg >/dev/null; then timeout 300 dpkg -i "$root$package"; else timeout 300 rpm -U "$root$package"; fi ||
    later "$package could not be installed"
fi
command -v "$CHEF_CLIENT" >/dev/null || die 1 "there is no $CHEF_CLIENT after its package was installed"

# setting NAME VALUE: a line of client.rb, when there is a value.
setting() { [ -z "$2" ] || printf "%s '%s'\n" "$1" "$2"; }
put 0600 /etc/spillway/chef/client.rb <<END
chef_server_url '$CHEF_SERVER_URL'
validation_client_name '$CHEF_VALIDATION_CLIENT'
validation_key '$root/etc/spillway/chef/validation.pem'
client_key '$root/etc/spillway/chef/client.pem'
node_name '$(hostname)'
run_lock_timeout 60
$(setting chef_license "${CHEF_LICENSE-}")
$(setting policy_name "${CHEF_POLICY_NAME-}")
$(setting policy_group "${CHEF_POLICY_GROUP-}")
END
if [ ! -f "$root/etc/spillway/chef/client.pem" ]; then
  need_secret CHEF_VALIDATION_KEY
  put 0600 /etc/spillway/chef/validation.pem <<END
$secret
END
fi
remember "CHEF_CLIENT=$CHEF_CLIENT" "CHEF_RUN_LIST=${CHEF_RUN_LIST-}"
halves run drain leave
reachable "$CHEF_SERVER_URL" 'the Chef server'
"$root/usr/local/lib/spillway/run" joining
rm -f "$root/etc/spillway/chef/validation.pem"
finish
