#!/bin/sh
# A machine for tasks of Spillway's own engine: the programs that they call. The agent itself comes with every join.
#   PACKAGES   of the distribution, such as "ffmpeg imagemagick"
#   PROGRAMS   absolute paths that must be there afterwards, such as "/usr/bin/ffmpeg /opt/render/render.sh"
set -eu
# shellcheck source-path=SCRIPTDIR source=../common.sh
. ./recipe/common.sh

# shellcheck disable=SC2086 # one word each
[ -z "${PACKAGES-}" ] || packages $PACKAGES
for program in ${PROGRAMS-}; do
  [ -x "$root$program" ] || die 1 "$program is not on this machine: PROGRAMS of the policy names it"
done
finish
