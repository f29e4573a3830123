#!/bin/sh
# The Spillway agent: registers a machine, reports its capacity and use, runs tasks. POSIX sh (dash, busybox ash, bash),
# /proc, and curl or GNU wget. The words it exchanges with the service are in PROTOCOL.md.
#
#   spillway-agent.sh ENV_FILE      one KEY=VALUE per line; the file holds a credential, so mode 0600
#     SPILLWAY_URL           https://host:port (http:// only to loopback, or with SPILLWAY_ALLOW_HTTP=1)
#     SPILLWAY_STATE_DIR     absolute path; keeps the identity and the tasks over a restart
#     SPILLWAY_ENROL_TOKEN   needed once, until the agent has a token of its own
#     SPILLWAY_NAME          default: the host name       SPILLWAY_LABELS   pool=media,rack=a1
#     SPILLWAY_CPUS, SPILLWAY_MEMORY_MIB, SPILLWAY_GPUS, SPILLWAY_ARCH   offer this instead of what the machine has
#     SPILLWAY_USED          host (default) | tasks: report the shapes of the running tasks as use (simulated hosts)
#     SPILLWAY_HOLD_S        so long after work or an order came answers are held, so that the next task starts at once; default 300,
#                            0: never. Else it reports once per interval and sleeps, which needs a quarter of the memory or less
#     SPILLWAY_CLIENT        curl or wget; default: GNU wget where it and GNU timeout are, the cheaper one
#     SPILLWAY_CA_FILE       the one CA that may vouch for the service
#     SPILLWAY_PROBE         a command that tells of tasks of other engines here: one number, or a line for each
#     SPILLWAY_IMDS          http://169.254.169.254 on a spot machine: where EC2 gives notice that it takes the machine back
#     SPILLWAY_CHECKPOINT_S  so long after such a notice tasks get SIGTERM; default 80 of EC2's 120
#     SPILLWAY_DEADMAN_S     without an accepted report for so long the machine shuts down; default 0: never
#     SPILLWAY_DEADMAN_TASKS 0 (default): but not while tasks run; 1: also then
#     SPILLWAY_SHUTDOWN      the command for it
#
# Signals: TERM, INT = end the tasks, say goodbye, exit 0. USR2 = exit 0 and leave the tasks to the next start.
# Exit codes: 0 left or stopped, 2 settings or missing tools, 3 credentials refused, 4 a newer agent has this identity,
#   5 an agent already runs on this state directory.
#
# What keeps tasks from being lost or run twice: a directory per (task, attempt) exists before its process does; what
# the service says is a state, not an event, so any answer may be lost; and without an accepted report for two thirds
# of the lease the agent ends its tasks, because after the whole lease they run elsewhere.
# Numbers ending in _cs are hundredths of a second on the clock of /proc/uptime, which no one can set.
# shellcheck disable=SC2015,SC2086 # `a && b || c` where b cannot fail; words are split on purpose where /proc lines become positional parameters
set -u
umask 077
nl='
'

say() { printf 'spillway-agent: %s\n' "$*" >&2; }
die() {
  exit_code=$1
  shift
  say "$*"
  exit "$exit_code"
}
is_number() { case $1 in '' | *[!0-9]* | ?????????????*) return 1 ;; esac }

now() {
  read -r up _ </proc/uptime
  part=${up#*.}
  now_cs=$((${up%.*} * 100 + ${part#0}))
}
# Sets $random to 0..999 without a fork.
draw() {
  read -r uuid </proc/sys/kernel/random/uuid
  random=$((0x${uuid%%-*} % 1000))
}
# Sets $started to the start time of a living process: a pid alone may by now belong to another process.
proc_start() {
  started=
  { read -r stat_line <"/proc/$1/stat"; } 2>/dev/null || return 1
  set -- ${stat_line##*) }
  case $1 in Z | X) return 1 ;; esac
  shift 19
  started=$1
}

# --- settings ---------------------------------------------------------------------------------------------------------
if [ $# -ne 1 ] || [ ! -r "$1" ]; then die 2 'usage: spillway-agent.sh ENV_FILE (a readable file)'; fi
SPILLWAY_URL='' SPILLWAY_STATE_DIR='' SPILLWAY_ENROL_TOKEN='' SPILLWAY_NAME='' SPILLWAY_LABELS='' SPILLWAY_CPUS=''
SPILLWAY_MEMORY_MIB='' SPILLWAY_GPUS='' SPILLWAY_ARCH='' SPILLWAY_USED=host SPILLWAY_HOLD_S=300 SPILLWAY_CA_FILE='' SPILLWAY_ALLOW_HTTP=0
SPILLWAY_CLIENT='' SPILLWAY_PROBE='' SPILLWAY_IMDS='' SPILLWAY_CHECKPOINT_S=80 SPILLWAY_DEADMAN_S=0 SPILLWAY_DEADMAN_TASKS=0
SPILLWAY_SHUTDOWN='shutdown -h now || sudo -n shutdown -h now'
# Parsed, not sourced: a value can never become a command.
while IFS= read -r line || [ -n "$line" ]; do
  value=${line#*=}
  case $value in \"*\" | \'*\') value=${value#?} value=${value%?} ;; esac
  case $line in
    '' | '#'*) ;;
    SPILLWAY_URL=*) SPILLWAY_URL=${value%/} ;;
    SPILLWAY_STATE_DIR=*) SPILLWAY_STATE_DIR=$value ;;
    SPILLWAY_ENROL_TOKEN=*) SPILLWAY_ENROL_TOKEN=$value ;;
    SPILLWAY_NAME=*) SPILLWAY_NAME=$value ;;
    SPILLWAY_LABELS=*) SPILLWAY_LABELS=$value ;;
    SPILLWAY_CPUS=*) SPILLWAY_CPUS=$value ;;
    SPILLWAY_MEMORY_MIB=*) SPILLWAY_MEMORY_MIB=$value ;;
    SPILLWAY_GPUS=*) SPILLWAY_GPUS=$value ;;
    SPILLWAY_ARCH=*) SPILLWAY_ARCH=$value ;;
    SPILLWAY_USED=*) SPILLWAY_USED=$value ;;
    SPILLWAY_HOLD_S=*) SPILLWAY_HOLD_S=$value ;;
    SPILLWAY_CA_FILE=*) SPILLWAY_CA_FILE=$value ;;
    SPILLWAY_ALLOW_HTTP=*) SPILLWAY_ALLOW_HTTP=$value ;;
    SPILLWAY_CLIENT=*) SPILLWAY_CLIENT=$value ;;
    SPILLWAY_PROBE=*) SPILLWAY_PROBE=$value ;;
    SPILLWAY_IMDS=*) SPILLWAY_IMDS=${value%/} ;;
    SPILLWAY_CHECKPOINT_S=*) SPILLWAY_CHECKPOINT_S=$value ;;
    SPILLWAY_DEADMAN_S=*) SPILLWAY_DEADMAN_S=$value ;;
    SPILLWAY_DEADMAN_TASKS=*) SPILLWAY_DEADMAN_TASKS=$value ;;
    SPILLWAY_SHUTDOWN=*) SPILLWAY_SHUTDOWN=$value ;;
    *) die 2 "unknown setting ${line%%=*} in $1" ;;
  esac
done <"$1"
case $SPILLWAY_URL in
  *[!A-Za-z0-9:/._~%@\[\]-]*) die 2 'SPILLWAY_URL has a character that no URL of a service has' ;;
  https://?* | http://127.* | http://localhost | http://localhost:* | 'http://[::1]'*) ;;
  http://?*) [ "$SPILLWAY_ALLOW_HTTP" = 1 ] || die 2 'SPILLWAY_URL is http:// and not loopback: use https://, or SPILLWAY_ALLOW_HTTP=1 on a private route' ;;
  *) die 2 'SPILLWAY_URL must be http:// or https://' ;;
esac
case $SPILLWAY_ENROL_TOKEN in *[!A-Za-z0-9._~+/=-]*) die 2 'SPILLWAY_ENROL_TOKEN is not a token' ;; esac
case $SPILLWAY_STATE_DIR$SPILLWAY_CA_FILE in *[\"\\]*) die 2 'paths must not have quotes or backslashes' ;; esac
case $SPILLWAY_STATE_DIR in /?*) state=$SPILLWAY_STATE_DIR ;; *) die 2 'SPILLWAY_STATE_DIR must be an absolute path' ;; esac
case $SPILLWAY_CA_FILE in '') ;; *) [ -r "$SPILLWAY_CA_FILE" ] || die 2 "cannot read SPILLWAY_CA_FILE $SPILLWAY_CA_FILE" ;; esac
case $SPILLWAY_USED in host | tasks) ;; *) die 2 'SPILLWAY_USED must be host or tasks' ;; esac
for value in "$SPILLWAY_CPUS" "$SPILLWAY_MEMORY_MIB"; do
  case $value in '' | [1-9]*) ;; *) die 2 'SPILLWAY_CPUS and SPILLWAY_MEMORY_MIB must be whole numbers above 0' ;; esac
  [ -z "$value" ] || is_number "$value" || die 2 'SPILLWAY_CPUS and SPILLWAY_MEMORY_MIB must be whole numbers above 0'
done
case $SPILLWAY_GPUS in
  '' | 0) ;;
  [1-9] | [1-9][0-9] | [1-9][0-9][0-9]) ;;
  *) die 2 'SPILLWAY_GPUS must be a whole number from 0 to 999' ;;
esac
case $SPILLWAY_ARCH in '' | x86_64 | arm64) ;; *) die 2 'SPILLWAY_ARCH must be x86_64 or arm64' ;; esac
case $SPILLWAY_CLIENT in '' | curl | wget) ;; *) die 2 'SPILLWAY_CLIENT must be curl or wget' ;; esac
case $SPILLWAY_IMDS in
  '' | http://169.254.169.254 | 'http://[fd00:ec2::254]') ;;
  http://127.*[!A-Za-z0-9.:/_-]*) die 2 'SPILLWAY_IMDS has a character that no address has' ;;
  http://127.*) ;;
  *) die 2 'SPILLWAY_IMDS must be http://169.254.169.254' ;;
esac
is_number "$SPILLWAY_HOLD_S" || die 2 'SPILLWAY_HOLD_S must be a whole number of seconds; 0 = never'
is_number "$SPILLWAY_CHECKPOINT_S" || die 2 'SPILLWAY_CHECKPOINT_S must be a whole number of seconds'
is_number "$SPILLWAY_DEADMAN_S" || die 2 'SPILLWAY_DEADMAN_S must be a whole number of seconds; 0 = never'
case $SPILLWAY_DEADMAN_TASKS in 0 | 1) ;; *) die 2 'SPILLWAY_DEADMAN_TASKS must be 0 or 1' ;; esac
enrol_token=$SPILLWAY_ENROL_TOKEN
# What the environment brought along must not reach the tasks.
unset SPILLWAY_ENROL_TOKEN

for tool in base64 head mkdir rm setsid sleep tail; do
  command -v "$tool" >/dev/null || die 2 "needs the command $tool"
done
client='' limiter=''
if [ "$SPILLWAY_CLIENT" != curl ]; then
  # busybox wget takes a credential only on its command line, where every user of the machine can read it.
  case $(wget --version 2>/dev/null) in 'GNU Wget 1'*) client=wget ;; esac
  # wget's own time-out starts anew with every byte. busybox's timeout would leave a watcher behind for each call.
  case $(timeout --version 2>/dev/null) in *GNU*) limiter=timeout ;; esac
fi
# wget needs less than curl does, but is no better without somebody who ends it.
if [ "$SPILLWAY_CLIENT" != wget ] && [ "$client$limiter" != wgettimeout ] && command -v curl >/dev/null; then
  client=curl limiter=''
fi
[ -n "$client" ] || die 2 "needs curl or GNU wget${SPILLWAY_CLIENT:+, and SPILLWAY_CLIENT says $SPILLWAY_CLIENT}"
[ -z "$SPILLWAY_PROBE" ] || command -v timeout >/dev/null || die 2 'SPILLWAY_PROBE needs the command timeout'
fraction=
sleep 0.01 2>/dev/null && fraction=1
cr=$(printf '\r')

# --- HTTP -------------------------------------------------------------------------------------------------------------
# Command lines are public (/proc/PID/cmdline); so the credential goes into a file that only we can read.
# Beside the CA that it is told of, either client goes on to believe the machine's own folder of them, unless it has another one: no-ca is empty.
write_credential() {
  if [ $client = curl ]; then
    printf 'header = "Authorization: Bearer %s"\nheader = "Content-Type: %s"\nheader = "Expect:"\n' "$2" "$3"
    [ -z "$SPILLWAY_CA_FILE" ] || printf 'cacert = "%s"\ncapath = "%s"\n' "$SPILLWAY_CA_FILE" "$state/no-ca"
  else
    printf 'header = Authorization: Bearer %s\nheader = Content-Type: %s\n' "$2" "$3"
    [ -z "$SPILLWAY_CA_FILE" ] || printf 'ca_certificate = %s\nca_directory = %s\n' "$SPILLWAY_CA_FILE" "$state/no-ca"
  fi >"$1"
}
# Loading a locale is a tenth of a client's work. Another is what GnuTLS makes ready before anybody asked; for https wget asks.
lighten() { export LC_ALL=C GNUTLS_NO_IMPLICIT_INIT=1; }
# post PATH CREDENTIAL_FILE BODY_FILE NAME SECONDS: headers go to NAME.head, the answer to NAME.body.
# Always called with `&`, so that `exec` makes the client itself our child.
post() {
  lighten
  if [ $client = curl ]; then
    exec curl -q -s -K "$2" --connect-timeout 5 -m "$5" --data-binary "@$3" -D "$4.head" -o "$4.body" "$SPILLWAY_URL$1"
  fi
  export WGETRC="$2"
  # A wget that was built with OpenSSL reads these where others have the folder.
  [ -z "$SPILLWAY_CA_FILE" ] || export SSL_CERT_FILE="$SPILLWAY_CA_FILE" SSL_CERT_DIR="$state/no-ca"
  exec ${limiter:+"$limiter" "$5"} wget -q -S -o "$4.head" -O "$4.body" --post-file="$3" -t 1 -T "$5" --max-redirect=0 \
    --content-on-error "$SPILLWAY_URL$1"
}
# A client that gets nothing may leave the files of the answer before as they were.
clear_answer() {
  : >"$1.head"
  : >"$1.body"
}
# Sets $status (0 = no answer) and $retry_after from NAME.head; needs $client_rc.
read_status() {
  status=0 retry_after=0
  while read -r word value _; do
    value=${value%"$cr"}
    case $word in
      HTTP/*) status=$value retry_after=0 ;;
      [Rr]etry-[Aa]fter:) retry_after=$value ;;
    esac
  done <"$1.head"
  is_number "$status" || status=0
  is_number "$retry_after" || retry_after=0
  # A cut answer is no answer.
  [ "$status" != 200 ] || [ "$client_rc" -eq 0 ] || status=0
}

# --- waiting ----------------------------------------------------------------------------------------------------------
# $child is what we wait for; USR1 (a task has ended) cuts the wait short only while $idle is set, so that a stream of
# ending tasks cannot kill each report before it is answered. Between fork and `child=$!` a signal only sets its flag.
child='' idle='' wake='' stop='' parting='' uploader=''
# KILL, because a shell that was just forked still has our traps and would forget a TERM. The group first: timeout makes
# one for itself and wget, the others have none of that number.
interrupt() { [ -z "$child" ] || kill -KILL "-$child" 2>/dev/null || kill -KILL "$child" 2>/dev/null; }
trap 'wake=1; [ -z "$idle" ] || interrupt' USR1
trap 'stop=1; interrupt' TERM INT
trap 'stop=keep; interrupt' USR2
trap : HUP
await() {
  if [ -n "$stop" ] && [ -z "$parting" ]; then interrupt; fi
  if [ -n "$idle" ] && [ -n "$wake" ]; then interrupt; fi
  wait "$child" 2>/dev/null
  client_rc=$?
  # A trap ends `wait` early; the child is still to be collected.
  while kill -0 "$child" 2>/dev/null && [ $client_rc -ne 127 ]; do
    wait "$child" 2>/dev/null
    client_rc=$?
  done
  # It may have ended between a trap and the question above. bash tells of a killed child when it is next looked at: here,
  # where nobody hears it.
  if [ $client_rc -gt 128 ]; then wait "$child" 2>/dev/null; fi
  child='' idle=''
}
# nap MILLISECONDS, rounded up to whole seconds where sleep knows no fractions.
nap() {
  ms=$1
  [ "$ms" -gt 0 ] || return 0
  if [ -n "$fraction" ]; then
    part=$((1000 + ms % 1000))
    set -- "$((ms / 1000)).${part#1}"
  else
    set -- "$(((ms + 999) / 1000))"
  fi
  sleep "$1" &
  child=$!
  await
}
# Waits before the next try: 1, 2, 4, 8, 16 s, times 0.5 to 1.5, at least what the service asked for. Whoever holds tasks, or
# an exit that is not told, waits an eighth of the lease at most: work that is not heard of within the lease runs again.
back_off() {
  failures=$((failures + 1))
  base=1
  [ $failures -lt 2 ] || base=2
  [ $failures -lt 3 ] || base=4
  [ $failures -lt 4 ] || base=8
  [ $failures -lt 5 ] || base=16
  if [ $((live + exits)) -gt 0 ]; then
    most=$((lease / 8))
    [ $most -ge 1 ] || most=1
    [ $base -le $most ] || base=$most
  fi
  [ "$retry_after" -le 300 ] || retry_after=300
  draw
  pause=$((base * (500 + random)))
  [ $pause -ge $((retry_after * 1000)) ] || pause=$((retry_after * (1000 + random / 2)))
  if [ $live -gt 0 ]; then
    now
    left=$(((last_ok_cs + fence_cs - now_cs) * 10))
    [ $left -ge 100 ] || left=100
    [ $pause -le $left ] || pause=$left
  fi
  dead_man
  nap $pause
}

# --- the machine ------------------------------------------------------------------------------------------------------
measure_capacity() {
  host_cpus=0
  while read -r word _; do
    case $word in cpu[0-9]*) host_cpus=$((host_cpus + 1)) ;; intr) break ;; esac
  done </proc/stat
  [ $host_cpus -gt 0 ] || host_cpus=1
  while read -r word value _; do
    case $word in MemTotal:) host_mib=$((value / 1024)) && break ;; esac
  done </proc/meminfo
  cpu_milli=$((${SPILLWAY_CPUS:-$host_cpus} * 1000))
  memory_mib=${SPILLWAY_MEMORY_MIB:-$host_mib}
  busy_before=0 total_before=0
  arch=$SPILLWAY_ARCH
  # The only fork of this part, once. Where it says something else, or there is no uname, nothing is said.
  [ -n "$arch" ] || case $(uname -m 2>/dev/null) in
    x86_64 | amd64) arch=x86_64 ;;
    aarch64 | arm64) arch=arm64 ;;
  esac
  count_gpus
}
# At each report, because a driver may come up after the agent. CUDA numbers devices from 0 without gaps, whatever their names.
count_gpus() {
  gpus=$SPILLWAY_GPUS
  if [ -z "$gpus" ]; then
    gpus=0
    for device in /dev/nvidia[0-9]*; do [ ! -e "$device" ] || gpus=$((gpus + 1)); done
  fi
  hardware=
  [ "$gpus" -eq 0 ] || hardware="gpus $gpus$nl"
  [ -z "$arch" ] || hardware="${hardware}arch $arch$nl"
}
# Sets $used_cpu and $used_memory; what the host uses is scaled to the share that is offered.
measure_use() {
  if [ "$SPILLWAY_USED" = tasks ]; then
    used_cpu=$tasks_cpu used_memory=$tasks_memory
    return
  fi
  read -r _ user nice system idle_ticks iowait irq softirq steal _ </proc/stat
  busy=$((user + nice + system + irq + softirq + steal))
  total=$((busy + idle_ticks + iowait))
  used_cpu=0
  [ $((total - total_before)) -le 0 ] || used_cpu=$((cpu_milli * (busy - busy_before) / (total - total_before)))
  [ $used_cpu -ge 0 ] || used_cpu=0
  busy_before=$busy total_before=$total
  available=0
  while read -r word value _; do
    case $word in MemAvailable:) available=$((value / 1024)) && break ;; esac
  done </proc/meminfo
  used_memory=$((memory_mib * (host_mib - available) / host_mib))
}

# Sets $others to how many tasks of other engines run here, `unknown` when the probe fails or takes more than 5 s.
probe_others() {
  others=0
  [ -n "$SPILLWAY_PROBE" ] || return 0
  {
    # A quarter of a MiB is enough for every list of tasks.
    ulimit -f 256
    exec timeout -s KILL 5 sh -c "$SPILLWAY_PROBE" </dev/null >"$state/probe" 2>/dev/null
  } &
  child=$!
  await
  others=unknown
  [ "$client_rc" -eq 0 ] || return 0
  others=0 said=
  while read -r line || [ -n "$line" ]; do
    [ -z "$line" ] || said=$line others=$((others + 1))
  done <"$state/probe"
  while case $said in 0?*) ;; *) false ;; esac do said=${said#0}; done
  [ $others -ne 1 ] || ! is_number "$said" || others=$said
}
# Whoever cannot reach the service is steered by nobody, and costs money by the hour.
dead_man() {
  [ "$SPILLWAY_DEADMAN_S" -gt 0 ] || return 0
  now
  [ $((now_cs - last_ok_cs)) -ge $((SPILLWAY_DEADMAN_S * 100)) ] && [ $((now_cs - shutdown_cs)) -ge 6000 ] || return 0
  if [ "$SPILLWAY_DEADMAN_TASKS" = 0 ]; then
    [ $live -eq 0 ] || return 0
    probe_others
    [ "$others" = 0 ] || return 0
  fi
  shutdown_cs=$now_cs
  say "no accepted report for $(((now_cs - last_ok_cs) / 100)) s: shutting the machine down"
  # Not waited for: it ends us, or it is asked again in a minute.
  sh -c "$SPILLWAY_SHUTDOWN" </dev/null >&2 &
}

# --- EC2's notices ----------------------------------------------------------------------------------------------------
# imds CREDENTIAL_FILE URL...: what is there goes to imds.body, all headers to imds.head. Called with `&`, as `post` is.
imds() {
  lighten
  WGETRC=$1
  shift
  if [ $client = curl ]; then
    exec curl -q -s -f -K "$WGETRC" --noproxy '*' --connect-timeout 1 -m 2 -D "$state/imds.head" "$@" >"$state/imds.body"
  fi
  export WGETRC
  exec ${limiter:+"$limiter" 4} wget --no-proxy -q -S -o "$state/imds.head" -O "$state/imds.body" -t 1 -T 2 --max-redirect=0 "$@"
}
# ask_imds NAME VALUE METHOD PATH...: sets $json to what is there, $status to 0 (silence), 401 or another that came.
ask_imds() {
  if [ $client = curl ]; then
    printf 'header = "X-aws-ec2-metadata-token%s: %s"\nrequest = %s\n' "$1" "$2" "$3"
  else
    printf 'header = X-aws-ec2-metadata-token%s: %s\n' "$1" "$2"
  fi >"$state/imds.credential"
  method=$3
  shift 3
  clear_answer "$state/imds"
  if [ $client = wget ] && [ "$method" != GET ]; then set -- "$@" "--method=$method"; fi
  imds "$state/imds.credential" "$@" &
  child=$!
  await
  status=0 json=
  while read -r word value _; do
    case $word in HTTP/*) [ $status = 401 ] || status=${value%"$cr"} ;; esac
  done <"$state/imds.head"
  while [ ${#json} -lt 4096 ] && { read -r line || [ -n "$line" ]; }; do json=$json$line; done <"$state/imds.body"
}
# Sets $found to the text that has this name in $json; times and words only.
json_text() {
  found=
  case $json in *"\"$1\""*) found=${json#*"\"$1\""} found=${found#*\"} found=${found%%\"*} ;; esac
  case $found in *[!A-Za-z0-9:.+-]* | ???????????????????????????????*) found= ;; esac
}
# Looks for a notice before a report, so that the report tells of it. IMDSv2: a token first, which holds for six hours.
look_for_notice() {
  [ -n "$SPILLWAY_IMDS" ] && [ -z "$interruption" ] || return 0
  now
  [ $now_cs -ge $imds_cs ] || return 0
  imds_cs=$((now_cs + hold * 50))
  if [ -z "$imds_token" ]; then
    ask_imds -ttl-seconds 21600 PUT "$SPILLWAY_IMDS/latest/api/token"
    case $json in *[!A-Za-z0-9+/=_-]*) ;; *) imds_token=$json ;; esac
  fi
  if [ -z "$imds_token" ]; then
    # Whoever has no metadata service is not asked at each report.
    imds_cs=$((now_cs + 6000))
    return
  fi
  ask_imds '' "$imds_token" GET "$SPILLWAY_IMDS/latest/meta-data/spot/instance-action" \
    "$SPILLWAY_IMDS/latest/meta-data/events/recommendations/rebalance"
  [ "$status" != 401 ] || imds_token='' imds_cs=$now_cs
  json_text noticeTime
  [ -z "$found" ] || rebalance=$found
  json_text action
  action=$found
  json_text time
  [ -n "$action" ] && [ -n "$found" ] || return 0
  interruption="$action $found" noticed_cs=$now_cs
  say "EC2 takes this machine back: $interruption"
}
# What is left of the two minutes is for writing down how far the tasks have come.
checkpoint() {
  [ -n "$interruption" ] && [ $live -gt 0 ] || return 0
  now
  [ $((now_cs - noticed_cs)) -ge $((SPILLWAY_CHECKPOINT_S * 100)) ] || return 0
  for dir in "$state"/tasks/tk-*; do
    [ -d "$dir" ] || continue
    if [ -e "$dir/code" ] || [ -e "$dir/drop" ] || [ -e "$dir/interrupted" ]; then continue; fi
    : >"$dir/interrupted"
    is_alive "$dir" && signal_group TERM "$pid"
  done
}

# --- tasks ------------------------------------------------------------------------------------------------------------
# tasks/ID.ATTEMPT/ holds: script, work/ (working directory), log, progress, shape (cpu, memory, born_cs); devices (its GPUs);
#   pid (pid and start time), code (exit code), both written by the wrapper below; drop = not ours any more, never
#   reported; interrupted = told to end because the machine does; acked = the service has the exit; offset, mark, drained,
#   full = how far the log is uploaded.
# The wrapper leads a session of its own. It writes pid before it looks for drop, and whoever drops a task writes drop
# before looking for pid: so one of the two always sees the other.
# shellcheck disable=SC2016 # expanded by the wrapper, not here
wrapper='cd "$1" || exit 125
agent_file=$2
[ -z "$3" ] || export CUDA_VISIBLE_DEVICES="$3"
read -r stat_line </proc/$$/stat
set -- ${stat_line##*) }
shift 19
echo "$$ $1" >pid || exit 125
[ ! -e drop ] || exit 0
trap : TERM
(cd work && exec sh ../script)
echo $? >code
if read -r pid start <"$agent_file" && read -r stat_line <"/proc/$pid/stat"; then
  set -- ${stat_line##*) }
  shift 19
  [ "$1" != "$start" ] || kill -USR1 "$pid"
fi 2>/dev/null
kill -KILL "-$$"'

# The one spelling that all three shells understand.
signal_group() { kill "-$1" "-$2" 2>/dev/null; }
# Sets $pid; false also while the wrapper has not yet written its file ($pid is then empty).
is_alive() {
  pid='' start=''
  { read -r pid start <"$1/pid"; } 2>/dev/null
  [ -n "$pid" ] && proc_start "$pid" && [ "$started" = "$start" ]
}
# The script goes first, so that a wrapper that is only just starting finds nothing to run. The directory leaves in one move:
# half removed (something still writes into it) it would look like a task that never started.
forget() {
  key=${1##*/tk-}
  unset "seen_${key%%.*}"
  rm -f "$1/script"
  mv "$1" "$state/gone.$key" 2>/dev/null
  rm -rf "$state"/gone.* 2>/dev/null
}
# drop DIR GRACE_SECONDS: ends a task whose outcome nobody wants.
drop() {
  : >"$1/drop"
  is_alive "$1" || return 0
  if [ "$2" -le 0 ]; then
    signal_group KILL "$pid"
    return
  fi
  signal_group TERM "$pid"
  (
    trap - TERM INT USR1 USR2
    tries=0
    while [ $tries -lt "$2" ]; do
      sleep 1
      is_alive "$1" || exit 0
      tries=$((tries + 1))
    done
    signal_group KILL "$pid"
  ) &
}
# progress DIR KEY: appends to $task_line what the task wrote, when the service has not accepted it yet. The file is
# compared as text first, because that needs no fork. Too long (over 3 KiB): the last one that fitted stays.
add_progress() {
  text=
  [ -s "$1/progress" ] || return 0
  while IFS= read -r line || [ -n "$line" ]; do
    text=$text$line$nl
    [ ${#text} -le 3073 ] || return 0
  done <"$1/progress"
  seen=
  eval "seen=\${seen_$2:-}"
  [ "$text" != "$seen" ] || return 0
  # Twelve times 4 KiB stay well inside a body of 64 KiB; the others follow with the next report.
  [ $progress_count -lt 12 ] || return 0
  encoded=
  for part in $(base64 <"$1/progress"); do encoded=$encoded$part; done
  [ -n "$encoded" ] && [ ${#encoded} -le 4096 ] || return 0
  progress_count=$((progress_count + 1))
  eval "offered_$2=\$text"
  offered="$offered $2"
  task_line="$task_line $encoded"
}
accept_progress() {
  for key in $offered; do
    eval "seen_$key=\$offered_$key"
    unset "offered_$key"
  done
  offered=
}
# Sets $code for a task that has ended, else leaves it empty. A task that was killed together with its wrapper (by this agent,
# a reboot, a hand) left no word: it was interrupted, not failed. It is dropped, so that the service gives it out anew.
settle() {
  code=
  { read -r code <"$1/code"; } 2>/dev/null
  [ -z "$code" ] || return 0
  is_alive "$1" && return 0
  { read -r code <"$1/code"; } 2>/dev/null
  [ -z "$code" ] || return 0
  if [ ! -s "$1/shape" ]; then
    # Not even what it needs was written down: the machine stopped while it was made.
    : >"$1/drop"
  elif [ -z "$pid" ]; then
    # Ten seconds without a sign of the wrapper: it never started.
    [ $((now_cs - ${born_cs:-0})) -gt 1000 ] && code=126
  else
    signal_group KILL "$pid"
    : >"$1/drop"
  fi
  [ -z "$code" ] || echo "$code" >"$1/code"
}
# Looks at every task directory: sets $report_tasks, $live (running), $exits (to be reported), $last_words, $leftover, $logs.
scan() {
  report_tasks='' offered='' logs='' last_words=0 live=0 exits=0 leftover=0 progress_count=0 tasks_cpu=0 tasks_memory=0
  now
  for dir in "$state"/tasks/tk-*; do
    [ -d "$dir" ] || continue
    if [ -e "$dir/drop" ]; then
      is_alive "$dir" || forget "$dir"
      continue
    fi
    name=${dir##*/}
    key=${name#tk-}
    key=${key%.*}
    task_cpu=0 task_memory=0 born_cs=0
    { read -r task_cpu task_memory born_cs <"$dir/shape"; } 2>/dev/null
    settle "$dir"
    if [ -e "$dir/drop" ]; then
      forget "$dir"
      continue
    fi
    [ ! -e "$dir/full" ] || : >"$dir/log"
    if [ -s "$dir/log" ] && [ ! -e "$dir/drained" ]; then
      # Newer or as old: file times may be as coarse as a second.
      # shellcheck disable=SC3013 # not in POSIX, but in all three shells
      [ "$dir/mark" -nt "$dir/log" ] && [ -z "$code" ] || logs=1
    elif [ -e "$dir/acked" ]; then
      forget "$dir"
      continue
    fi
    leftover=$((leftover + 1))
    if [ -e "$dir/acked" ]; then
      # A log that cannot be uploaded is kept for ten minutes.
      read -r acked_cs <"$dir/acked"
      [ $((now_cs - acked_cs)) -le 60000 ] || forget "$dir"
      continue
    fi
    if [ -n "$code" ] && [ "$code" != 0 ] && [ -e "$dir/interrupted" ]; then
      # Its last progress goes out as that of a task that runs. Then it is dropped here, and given out anew there.
      task_line="task ${name%.*} ${name##*.} running" count_before=$progress_count
      add_progress "$dir" "$key"
      if [ $progress_count -eq $count_before ] && [ $progress_count -lt 12 ]; then
        : >"$dir/drop"
        forget "$dir"
        leftover=$((leftover - 1))
        continue
      fi
      last_words=$((last_words + 1)) live=$((live + 1))
      report_tasks=$report_tasks$task_line$nl
      continue
    fi
    if [ -n "$code" ]; then
      exits=$((exits + 1))
      task_line="task ${name%.*} ${name##*.} exited $code"
    else
      live=$((live + 1)) tasks_cpu=$((tasks_cpu + ${task_cpu:-0})) tasks_memory=$((tasks_memory + ${task_memory:-0}))
      task_line="task ${name%.*} ${name##*.} running"
    fi
    add_progress "$dir" "$key"
    report_tasks=$report_tasks$task_line$nl
  done
}
is_task() {
  case $1 in tk-*[!0-9a-z]* | tk-?????????????*) return 1 ;; tk-????????????) is_number "$2" ;; *) return 1 ;; esac
}
decode() {
  base64 -d >"$2" 2>/dev/null <<EOF
$1
EOF
}
# Sets $devices to so many GPUs, as CUDA numbers them, that no task here has; false when fewer are free. A task has its own until
# its wrapper is gone: one that was told to end may use them to its last moment.
take_devices() {
  devices='' taken=,
  for other in "$state"/tasks/tk-*; do
    [ -s "$other/devices" ] || continue
    if [ -e "$other/code" ] || [ -e "$other/drop" ]; then is_alive "$other" || continue; fi
    read -r held <"$other/devices"
    taken=$taken$held,
  done
  index=0 missing=$1
  while [ "$missing" -gt 0 ] && [ $index -lt "$gpus" ]; do
    case $taken in *,$index,*) ;; *) devices=${devices:+$devices,}$index missing=$((missing - 1)) ;; esac
    index=$((index + 1))
  done
  [ "$missing" -eq 0 ]
}
# run ID ATTEMPT CPU_MILLI MEMORY_MIB SCRIPT_BASE64 [PROGRESS_BASE64 [GPUS]]; `-` = no progress
run() {
  is_task "$1" "$2" && is_number "$3" && is_number "$4" && is_number "${7:-0}" || return 0
  dir=$state/tasks/$1.$2
  if [ -n "$cordoned$leaving" ] || [ -e "$dir" ]; then return 0; fi
  for older in "$state/tasks/$1".*; do
    [ ! -d "$older" ] || [ -e "$older/drop" ] || drop "$older" 0
  done
  # Without enough free GPUs it is not started; the order comes again with the next answer.
  take_devices "${7:-0}" || return 0
  mkdir -p "$dir/work" || return 0
  now
  [ -z "$devices" ] || echo "$devices" >"$dir/devices"
  echo "$3 $4 $now_cs" >"$dir/shape"
  : >"$dir/progress"
  case $6 in '' | -) ;; *) decode "$6" "$dir/progress" ;; esac
  changed=1
  if ! decode "$5" "$dir/script"; then
    echo 'spillway-agent: the script could not be written' >"$dir/log"
    echo 126 >"$dir/code"
    return
  fi
  SPILLWAY_TASK_ID=$1 SPILLWAY_TASK_ATTEMPT=$2 SPILLWAY_PROGRESS_FILE=$dir/progress \
    setsid sh -c "$wrapper" spillway-task "$dir" "$state/pid" "$devices" </dev/null >>"$dir/log" 2>&1 &
  # bash would announce each wrapper's end, which is always a kill, on our standard error.
  # shellcheck disable=SC3044
  [ -z "${BASH_VERSION:-}" ] || disown "$!"
}
# Uploads what the logs have gained; runs beside the heartbeats, one at a time. The service says how far it has come
# (`next`), so nothing has to be counted here.
upload_logs() {
  trap 'interrupt; exit 0' TERM INT
  for dir in "$state"/tasks/tk-*; do
    [ -s "$dir/log" ] || continue
    if [ -e "$dir/drop" ] || [ -e "$dir/full" ] || [ -e "$dir/drained" ]; then continue; fi
    name=${dir##*/}
    chunks=0
    while [ $chunks -lt 16 ]; do
      over=
      [ ! -e "$dir/code" ] || over=1
      offset=0
      { read -r offset <"$dir/offset"; } 2>/dev/null
      echo >"$dir/mark"
      tail -c "+$((offset + 1))" "$dir/log" | head -c 65536 >"$state/log.chunk"
      if [ ! -s "$state/log.chunk" ]; then
        [ -z "$over" ] || : >"$dir/drained"
        break
      fi
      clear_answer "$state/log"
      post "/agent/v1/tasks/${name%.*}/log?attempt=${name##*.}&offset=$offset" "$state/log.credential" \
        "$state/log.chunk" "$state/log" 30 &
      child=$!
      wait "$child" 2>/dev/null
      client_rc=$?
      child=
      read_status "$state/log"
      next=
      [ "$status" != 200 ] || read -r word next <"$state/log.body"
      case $status in
        # No room, or not ours: what is still written is thrown away.
        403 | 404 | 409 | 413) : >"$dir/full" && break ;;
      esac
      if ! is_number "$next" || [ "$next" -le "$offset" ]; then
        rm -f "$dir/mark"
        return
      fi
      echo "$next" >"$dir/offset"
      chunks=$((chunks + 1))
    done
  done
}
start_upload() {
  [ -n "$logs" ] || return 0
  if [ -n "$uploader" ] && proc_start "$uploader"; then return 0; fi
  upload_logs &
  uploader=$!
}
# Without word from the service for two thirds of the lease, the tasks end: after the lease they run elsewhere.
fence() {
  now
  [ $live -gt 0 ] && [ $((now_cs - last_ok_cs)) -ge $fence_cs ] || return 0
  say "no accepted report for $(((now_cs - last_ok_cs) / 100)) s: ending the tasks, they will run elsewhere"
  grace=$((lease / 6))
  [ $grace -le 5 ] || grace=5
  for dir in "$state"/tasks/tk-*; do
    [ ! -d "$dir" ] || [ -e "$dir/code" ] || [ -e "$dir/drop" ] || drop "$dir" $grace
  done
  scan
}
end_all() {
  for dir in "$state"/tasks/tk-*; do
    [ ! -d "$dir" ] || [ -e "$dir/code" ] || [ -e "$dir/drop" ] || {
      : >"$dir/drop"
      is_alive "$dir" && signal_group TERM "$pid"
    }
  done
  tries=0
  while [ $tries -lt 25 ]; do
    remaining=
    for dir in "$state"/tasks/tk-*; do
      if is_alive "$dir"; then remaining=1 && break; fi
    done
    [ -n "$remaining" ] || return 0
    if [ -n "$fraction" ]; then sleep 0.2; else sleep 1 && tries=$((tries + 4)); fi
    tries=$((tries + 1))
  done
  for dir in "$state"/tasks/tk-*; do
    if is_alive "$dir"; then signal_group KILL "$pid"; fi
  done
}

# --- talking ----------------------------------------------------------------------------------------------------------
use_lease() {
  fence_cs=$((lease * 200 / 3))
  # The lease runs from the moment of sending; three reports fit into it even when one is lost.
  hold=$interval
  [ $hold -le $((lease / 3)) ] || hold=$((lease / 3))
  [ $hold -ge 1 ] || hold=1
  [ $hold -le 55 ] || hold=55
  # Of EC2's two minutes none is spent waiting.
  [ -z "$SPILLWAY_IMDS" ] || [ $hold -le 10 ] || hold=10
}
# bounded NAME VALUE: sets NAME when VALUE is a number of seconds from 1 to 3600.
bounded() {
  if is_number "$2" && [ "$2" -ge 1 ] && [ "$2" -le 3600 ]; then eval "$1=$2"; fi
}
# Tasks belong to the identity that was given them: whoever needs a new one has none.
register() {
  end_all
  scan
  [ -n "$enrol_token" ] || die 3 'no credentials: the service does not know this agent and there is no SPILLWAY_ENROL_TOKEN'
  write_credential "$state/enrol.credential" "$enrol_token" 'text/plain; charset=utf-8'
  {
    printf 'protocol 1\nname %s\nboot %s\ncapacity %s %s\n%s' "$SPILLWAY_NAME" "$boot" "$cpu_milli" "$memory_mib" "$hardware"
    labels=$SPILLWAY_LABELS,
    while [ -n "$labels" ]; do
      label=${labels%%,*} labels=${labels#*,}
      case $label in *=*) printf 'label %s %s\n' "${label%%=*}" "${label#*=}" ;; esac
    done
  } >"$state/report"
  while :; do
    [ -z "$stop" ] || farewell
    clear_answer "$state/answer"
    post /agent/v1/register "$state/enrol.credential" "$state/report" "$state/answer" 20 &
    child=$!
    await
    [ -z "$stop" ] || farewell
    read_status "$state/answer"
    case $status in
      200) break ;;
      401 | 403) die 3 'the enrolment token was refused: it is used, expired or unknown' ;;
      400)
        read -r line <"$state/answer.body"
        die 2 "registration refused: $line"
        ;;
    esac
    back_off
  done
  failures=0 token=
  while read -r word value _; do
    case $word in
      token) token=$value ;;
      interval | lease) bounded "$word" "$value" ;;
      agent) say "registered as $value" ;;
    esac
  done <"$state/answer.body"
  use_lease
  case $token in '' | *[!A-Za-z0-9._~+/=-]*) die 3 'the answer to the registration has no token' ;; esac
  printf '%s\n' "$token" >"$state/token"
  use_credentials
  rm -f "$state/enrol.credential"
  now
  last_ok_cs=$now_cs
}
use_credentials() {
  write_credential "$state/beat.credential" "$token" 'text/plain; charset=utf-8'
  write_credential "$state/log.credential" "$token" application/octet-stream
}
# beat HOLD_SECONDS [LINE]: one report. Sets $status.
beat() {
  seq=$((seq + 1))
  measure_use
  count_gpus
  printf 'boot %s\nseq %s\ncapacity %s %s\n%sused %s %s\n%scordon %s\nwait %s\n%s%s%s%s%s' "$boot" $seq $cpu_milli $memory_mib \
    "$hardware" $used_cpu $used_memory "$cordon_prefix" "$cordon" "$1" "${SPILLWAY_PROBE:+others $others$nl}" \
    "${rebalance:+rebalance $rebalance$nl}" "${interruption:+interruption $interruption$nl}" "$report_tasks" "${2:+$2$nl}" \
    >"$state/report"
  clear_answer "$state/answer"
  now
  sent_cs=$now_cs
  limit=$(($1 + 10))
  if [ $live -gt 0 ]; then
    left=$(((last_ok_cs + fence_cs - now_cs) / 100 + 1))
    [ $left -ge 1 ] || left=1
    [ $limit -le $left ] || limit=$left
  fi
  post /agent/v1/heartbeat "$state/beat.credential" "$state/report" "$state/answer" $limit &
  child=$!
  await
  read_status "$state/answer"
}
obey() {
  while read -r word a b c d e f g _; do
    case $word in
      interval | lease) bounded "$word" "$a" ;;
      cordon | uncordon)
        is_number "$a" || continue
        [ "$word $a" = "${cordon_prefix}cordon $cordon" ] || changed=1
        cordon=$a
        if [ "$word" = cordon ]; then cordoned=1 cordon_prefix=; else cordoned='' cordon_prefix=un; fi
        ;;
      run) run "$a" "$b" "$c" "$d" "$e" "$f" "$g" ;;
      stop)
        dir=$state/tasks/$a.$b
        if is_task "$a" "$b" && [ -d "$dir" ] && [ ! -e "$dir/drop" ]; then drop "$dir" 5 && changed=1; fi
        ;;
      ack)
        dir=$state/tasks/$a.$b
        if is_task "$a" "$b" && [ -e "$dir/code" ] && [ ! -e "$dir/acked" ]; then
          echo "$now_cs" >"$dir/acked"
          changed=1
        fi
        ;;
      leave) [ -n "$leaving" ] || leaving=$now_cs changed=1 ;;
    esac
  done <"$state/answer.body"
  use_lease
}
farewell() {
  if [ "$stop" = keep ]; then
    say 'exiting; the tasks run on'
  else
    [ -n "$leaving" ] || say 'stopping: ending the tasks'
    parting=1
    end_all
    if [ -n "${token:-}" ]; then
      scan
      last_ok_cs=$now_cs
      beat 0 leaving
    fi
  fi
  [ -z "$uploader" ] || kill "$uploader" 2>/dev/null
  : >"$state/pid"
  exit 0
}

# --- life -------------------------------------------------------------------------------------------------------------
mkdir -p "$state/tasks" "$state/no-ca" || die 2 "cannot write to SPILLWAY_STATE_DIR $state"
pid=''
if [ -s "$state/pid" ]; then
  if is_alive "$state"; then die 5 "another agent (pid $pid) runs on $state"; fi
fi
proc_start $$ && echo "$$ $started" >"$state/pid"
[ -n "$SPILLWAY_NAME" ] || read -r SPILLWAY_NAME </proc/sys/kernel/hostname
read -r boot </proc/sys/kernel/random/uuid
read -r kernel_boot </proc/sys/kernel/random/boot_id
interruption='' rebalance='' noticed_cs=0 imds_token='' imds_cs=0 shutdown_cs=-6000 others=0
seq=0 failures=0 interval=10 lease=60 cordon=0 cordon_prefix=un cordoned='' leaving='' retry_after=0 live=0 token=''
now
last_ok_cs=$now_cs
news_cs=$now_cs
measure_capacity
# Tasks of an earlier life: pids mean something only under the same kernel, and a task that was never seen to start
# is dropped, so that the service gives it out anew.
previous_boot=''
{ read -r previous_boot last_ok_cs lease <"$state/last"; } 2>/dev/null
is_number "$last_ok_cs" && is_number "$lease" && [ "$previous_boot" = "$kernel_boot" ] || last_ok_cs=$now_cs lease=60
rm -rf "$state"/gone.*
for dir in "$state"/tasks/tk-*; do
  [ -d "$dir" ] || continue
  if [ "$previous_boot" != "$kernel_boot" ]; then
    [ -e "$dir/code" ] || drop "$dir" 0
  elif [ ! -s "$dir/pid" ] && [ ! -e "$dir/code" ]; then
    drop "$dir" 0
  elif [ -e "$dir/drop" ] && is_alive "$dir"; then
    signal_group KILL "$pid"
  fi
  [ -s "$dir/shape" ] || drop "$dir" 0
done
echo "$kernel_boot $last_ok_cs $lease" >"$state/last"
use_lease
scan
fence
{ read -r token <"$state/token"; } 2>/dev/null
if [ -n "$token" ]; then use_credentials; else register; fi

while :; do
  [ -z "$stop" ] || farewell
  wake='' changed='' idle=''
  scan
  fence
  checkpoint
  start_upload
  if [ -n "$leaving" ] && [ $((live + exits)) -eq 0 ]; then
    # The last logs get half a minute.
    if [ $leftover -eq 0 ] || [ $((now_cs - leaving)) -gt 3000 ]; then farewell; fi
    nap 200
    continue
  fi
  look_for_notice
  probe_others
  # An exit is told at once and its telling is never cut short; with nothing to tell, the service may hold the answer.
  if [ $((exits + last_words)) -gt 0 ]; then
    beat 0
  elif [ $((now_cs - news_cs)) -ge $((SPILLWAY_HOLD_S * 100)) ]; then
    # A held answer keeps a client in memory; that is for where work comes.
    beat 0
  elif [ -n "$wake" ]; then
    # A task has ended since the scan.
    continue
  else
    idle=1
    beat $hold
  fi
  [ -z "$stop" ] || farewell
  case $status in
    200)
      failures=0 last_ok_cs=$sent_cs
      accept_progress
      obey
      [ $last_words -eq 0 ] || changed=1
      [ -z "$changed" ] || news_cs=$sent_cs
      echo "$kernel_boot $last_ok_cs $lease" >"$state/last"
      if [ -z "$changed$wake" ]; then
        now
        idle=1
        nap $(((sent_cs + hold * 100 - now_cs) * 10))
      fi
      ;;
    401)
      say 'the service does not know this agent'
      rm -f "$state/token"
      token=
      register
      seq=0
      ;;
    409)
      say 'a newer agent speaks for this identity'
      end_all
      : >"$state/pid"
      exit 4
      ;;
    *) [ -n "$wake" ] || back_off ;;
  esac
done
