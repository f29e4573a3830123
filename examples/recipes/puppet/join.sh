#!/bin/sh
# Hands the machine over to Puppet: one run now, and one as it leaves.
#   PUPPET_SERVER                             name of the server
#   PUPPET_ENVIRONMENT                        default: the server's choice
#   PUPPET_CHALLENGE, PUPPET_CHALLENGE_FILE   challengePassword of the certificate's request, for autosigning by policy
#   PUPPET_PACKAGE                            default puppet-agent; not needed when the image has puppet
# Manifests find the fact `spillway_state`: joining, draining or leaving.
set -eu
# shellcheck source-path=SCRIPTDIR source=../common.sh
. ./recipe/common.sh
need PUPPET_SERVER
plain PUPPET_SERVER PUPPET_ENVIRONMENT
one_line PUPPET_CHALLENGE
secret PUPPET_CHALLENGE

# Where the vendor's packages have it; sudo does not look there.
PATH=$PATH:/opt/puppetlabs/bin
command -v puppet >/dev/null || packages "${PUPPET_PACKAGE:-puppet-agent}"
PUPPET=$(command -v puppet) || die 1 'there is no puppet after its package was installed'

if [ -n "$secret" ]; then
  # It is part of the request, so it counts only until there is a certificate.
  put 0600 "$("$PUPPET" config print csr_attributes --section agent)" <<END
custom_attributes:
  1.2.840.113549.1.9.7: '$(printf '%s' "$secret" | sed "s/'/''/g")'
END
fi
remember "PUPPET=$PUPPET" "PUPPET_SERVER=$PUPPET_SERVER" "PUPPET_ENVIRONMENT=${PUPPET_ENVIRONMENT-}"
halves run drain leave
"$root/usr/local/lib/spillway/run" joining
finish
