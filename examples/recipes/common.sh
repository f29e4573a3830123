# shellcheck shell=sh
# What the recipes here share; a recipe begins with `. ./recipe/common.sh`. POSIX sh: dash, busybox ash, bash.
#
# Exit codes of a recipe: 0 = go on, 75 = not now (tried again on the same machine until join.ready.deadline), any other = this
# machine will not do and is replaced; 2 of them = a setting of the policy is missing or wrong.
#
# DESTDIR is where files go instead of /, for tries.
set -eu
umask 022
root=${DESTDIR-}
changed=0

say() { printf '%s\n' "recipe: $*"; }
die() {
  die_code=$1
  shift
  say "$*" >&2
  exit "$die_code"
}
later() { die 75 "not now: $*"; }

# The login user of a cloud image may do everything by sudo. -E keeps the settings, which are in the environment.
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || die 1 'needs root, or sudo without a password'
  exec sudo -n -E sh "$0"
fi

# --- settings ---------------------------------------------------------------------------------------------------------
need() {
  for need_name; do
    eval "need_value=\${$need_name-}"
    [ -n "$need_value" ] || die 2 "$need_name is missing: set it in join.recipe.env of the policy"
  done
}
# plain NAME...: for what goes into other programs' files unquoted; names, addresses and lists of such have nothing else.
plain() {
  for plain_name; do
    plain_value=
    eval "plain_value=\${$plain_name-}"
    case $plain_value in
      *[!A-Za-z0-9._:/,=@%+-]*) die 2 "$plain_name has a character other than letters, digits and . _ : / , = @ % + -" ;;
    esac
  done
}
one_line() {
  for line_name; do
    line_value=
    eval "line_value=\${$line_name-}"
    case $line_value in *"
"*) die 2 "$line_name has more than one line" ;; esac
  done
}
# secret NAME: sets $secret to NAME, or to what the file NAME_FILE of this machine holds; empty when neither is set.
secret() {
  eval "secret=\${$1-} secret_file=\${${1}_FILE-}"
  if [ -z "$secret" ] && [ -n "$secret_file" ]; then
    [ -r "$root$secret_file" ] || later "${1}_FILE names $secret_file, which is not there yet"
    secret=$(cat "$root$secret_file")
  fi
}
need_secret() {
  secret "$1"
  [ -n "$secret" ] || die 2 "$1 is missing: set it, or ${1}_FILE to a file on the machine, in join.recipe.env of the policy"
}

# --- files ------------------------------------------------------------------------------------------------------------
# put MODE FILE: what comes in becomes the file, whole or not at all; a file that is so already is left alone.
put() {
  put_file=$root$2
  mkdir -p "${put_file%/*}"
  rm -f "$put_file.new"
  (umask 077 && cat >"$put_file.new")
  chmod "$1" "$put_file.new"
  if [ -f "$put_file" ] && cmp -s "$put_file.new" "$put_file"; then
    rm -f "$put_file.new"
    chmod "$1" "$put_file"
    return 0
  fi
  mv -f "$put_file.new" "$put_file"
  changed=$((changed + 1))
  say "wrote $2"
}
# quoted VALUE: as one word of sh.
quoted() { printf '%s\n' "$1" | sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/'/"; }
# listed A,B: as the inside of a list of JSON or YAML.
listed() { [ -z "$1" ] || printf '"%s"' "$1" | sed 's/,/", "/g'; }
# unit_value VALUE: as the value of a line of a unit's EnvironmentFile.
unit_value() { printf '"%s"\n' "$(printf '%s' "$1" | sed 's/[\\"`$]/\\&/g')"; }
# halves NAME...: the scripts that come along, for the hooks of the policy and the probe of the agent.
halves() {
  for half; do put 0755 "/usr/local/lib/spillway/$half" <"recipe/$half.sh"; done
}
# remember NAME=VALUE...: what the halves need to know. Only root can read it.
remember() {
  (
    umask 077
    mkdir -p "$root/etc/spillway"
    for pair; do
      printf '%s=' "${pair%%=*}"
      quoted "${pair#*=}"
    done >"$root/etc/spillway/recipe.draft"
  )
  put 0600 /etc/spillway/recipe <"$root/etc/spillway/recipe.draft"
  rm -f "$root/etc/spillway/recipe.draft"
}

# --- software ---------------------------------------------------------------------------------------------------------
# packages NAME...: those that are missing are installed. What cannot be had now may be had in a minute: locks, mirrors.
packages() {
  if command -v apt-get >/dev/null; then deb_packages "$@"; else rpm_packages "$@"; fi
}
deb_packages() {
  missing=
  for package; do
    case $(dpkg-query -W -f '${Status}' "${package%%=*}" 2>/dev/null || :) in
      'install ok installed') ;;
      *) missing="$missing $package" ;;
    esac
  done
  [ -n "$missing" ] || return 0
  export DEBIAN_FRONTEND=noninteractive
  timeout 60 dpkg --configure -a || later 'dpkg is locked, or cannot finish what a run before this one began'
  timeout 120 apt-get -q -o DPkg::Lock::Timeout=60 -o APT::Update::Error-Mode=any update ||
    later 'apt is locked, or its mirror is away'
  for package in $missing; do
    apt-cache show "${package%%=*}" >/dev/null 2>&1 || die 1 "apt knows no package ${package%%=*}"
  done
  # shellcheck disable=SC2086 # one word each
  timeout 600 apt-get -q -y -o DPkg::Lock::Timeout=60 --no-install-recommends install $missing ||
    later "apt did not install$missing"
  changed=$((changed + 1))
}
rpm_packages() {
  missing=
  for package; do rpm -q "$package" >/dev/null 2>&1 || missing="$missing $package"; done
  [ -n "$missing" ] || return 0
  # shellcheck disable=SC2086 # one word each
  timeout 600 dnf -q -y install $missing || later "dnf did not install$missing"
  changed=$((changed + 1))
}
has_sum() { [ -f "$1" ] && printf '%s  %s\n' "$2" "$1" | sha256sum -c >/dev/null 2>&1; }
# fetch URL SHA256 MODE FILE: never used before its checksum is right, never fetched twice.
fetch() {
  if has_sum "$root$4" "$2"; then return 0; fi
  mkdir -p "$root${4%/*}"
  curl -q -fsSL --proto '=https' --connect-timeout 10 --max-time 300 -o "$root$4.new" "$1" || later "$1 cannot be had"
  if ! has_sum "$root$4.new" "$2"; then
    rm -f "$root$4.new"
    die 1 "what $1 gave has not the checksum $2"
  fi
  chmod "$3" "$root$4.new"
  mv -f "$root$4.new" "$root$4"
  changed=$((changed + 1))
  say "fetched $4"
}
# Sets $arch to amd64 or arm64.
# shellcheck disable=SC2034 # for recipes
know_arch() {
  case $(uname -m) in
    x86_64 | amd64) arch=amd64 ;;
    aarch64 | arm64) arch=arm64 ;;
    *) die 1 "no software for $(uname -m)" ;;
  esac
}
# start UNIT FILE...: the unit runs, and since these files are as they are, also when an earlier run was cut in between.
start() {
  start_unit=$1 start_stamp=$root/var/lib/spillway/$1.started
  shift
  start_stale=
  [ -f "$start_stamp" ] || start_stale=1
  for start_file; do
    [ -n "$start_stale" ] || [ -z "$(find "$root$start_file" -newer "$start_stamp")" ] || start_stale=1
  done
  if [ -z "$start_stale" ] && systemctl is-active --quiet "$start_unit"; then return 0; fi
  mkdir -p "${start_stamp%/*}"
  : >"$start_stamp.new"
  systemctl daemon-reload
  systemctl enable --quiet "$start_unit"
  start_code=0
  timeout 90 systemctl restart "$start_unit" || start_code=$?
  case $start_code in
    0) ;;
    124) later "$start_unit has not started within 90 s" ;;
    *) die 1 "$start_unit does not start; see: journalctl -u $start_unit" ;;
  esac
  mv -f "$start_stamp.new" "$start_stamp"
  changed=$((changed + 1))
}

# --- the end ----------------------------------------------------------------------------------------------------------
# reachable URL WHAT: whether something answers there, whatever it answers; nothing of it is believed.
reachable() {
  curl -q -sk --connect-timeout 10 --max-time 20 -o /dev/null "$1" || later "$2 does not answer at $1"
}
# tell_agent KEY=VALUE: a setting of the machine's agent.
tell_agent() {
  [ -n "${SPILLWAY_AGENT_SETTINGS-}" ] || return 0
  grep -qxF "$1" "$SPILLWAY_AGENT_SETTINGS" 2>/dev/null || printf '%s\n' "$1" >>"$SPILLWAY_AGENT_SETTINGS"
}
finish() {
  if [ "$changed" -eq 0 ]; then say 'done: nothing had to change'; else say "done: $changed changes"; fi
}
