/** Machines with a POSIX `sh`. */
import {
  JOIN_BUSY_EXIT_CODE,
  NO_KEYGEN_EXIT_CODE,
  NO_RIGHT_EXIT_CODE,
  RECIPE_OUTPUT_BYTES,
  type MachineDialect,
} from './dialect.ts';

/**
 * Starts recipe and agent on a machine, safe to repeat: an agent that runs already is replaced, never doubled.
 * Everything it needs lies in files beside it; nothing from a policy is ever part of a command line.
 */
const JOIN_SCRIPT = `set -eu
cd "$HOME/.spillway"
# After a stop and a start the numbers of processes that files here name belong to others: they count for one boot.
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo unknown)
# One join at a time. The lock lives on the machine, because whoever began the other one may be gone and its script still run.
if ! mkdir join.lock 2>/dev/null; then
  holder= holder_boot=
  { read -r holder holder_boot <join.lock/pid; } 2>/dev/null || :
  if [ "$holder_boot" = "$boot" ] && kill -0 "$holder" 2>/dev/null; then exit ${JOIN_BUSY_EXIT_CODE}; fi
fi
echo "$$ $boot" >join.lock/pid
trap 'rm -rf join.lock' EXIT
# What the recipe has the agent know, one KEY=VALUE per line; each run says it anew.
: >agent.recipe
if [ -f recipe.sh ]; then
  set -a; . ./recipe.env; SPILLWAY_AGENT_SETTINGS=$PWD/agent.recipe; set +a
  code=0
  sh ./recipe.sh >recipe.log 2>&1 || code=$?
  # What it said is kept with the machine; the end of it is what tells why it failed.
  tail -c ${RECIPE_OUTPUT_BYTES} recipe.log
  [ "$code" -eq 0 ] || exit "$code"
fi
if [ -f agent.pid ]; then
  old= old_boot=
  read -r old old_boot <agent.pid || :
  if [ "$old_boot" = "$boot" ] && kill -0 "$old" 2>/dev/null; then
    # USR2: the agent goes and its tasks stay for the next one. A machine that is joined twice must not lose work.
    kill -USR2 "$old" 2>/dev/null || :
    tries=0
    while kill -0 "$old" 2>/dev/null && [ "$tries" -lt 10 ]; do sleep 1; tries=$((tries + 1)); done
    kill -KILL "$old" 2>/dev/null || :
  fi
fi
{
  # First, because of a setting that comes twice the last one counts: the service's own word.
  cat agent.recipe; echo; cat agent.settings
  printf 'SPILLWAY_STATE_DIR=%s\n' "$HOME/.spillway/state"
  # A simulated host cannot show its hardware in /proc; it tells it in its environment.
  if [ -n "\${SPILLWAY_SIMULATED_INSTANCE-}" ]; then
    printf 'SPILLWAY_CPUS=%s\nSPILLWAY_MEMORY_MIB=%s\nSPILLWAY_USED=tasks\n' "$SPILLWAY_CPUS" "$SPILLWAY_MEMORY_MIB"
    printf 'SPILLWAY_GPUS=%s\nSPILLWAY_ARCH=%s\n' "$SPILLWAY_GPUS" "$SPILLWAY_ARCH"
    printf 'SPILLWAY_IMDS=%s\n' "\${SPILLWAY_SIMULATED_IMDS-}"
  fi
} >agent.env
rm -f agent.settings
nohup setsid sh ./agent.sh "$HOME/.spillway/agent.env" >agent.log 2>&1 </dev/null &
agent=$!
echo "$agent $boot" >agent.pid
# Wrong settings end an agent at once; here its last words still reach whoever asks why.
sleep 0.2 2>/dev/null || sleep 1
kill -0 "$agent" 2>/dev/null || { tail -n 20 agent.log; exit 70; }
`;

/** Both scripts: everything about host keys is root's. `sudo -n` never asks. */
const AS_ROOT = `set -eu
key=\${SPILLWAY_HOST_KEY_FILE:-/etc/ssh/ssh_host_ed25519_key}
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
as_root true || { echo 'the login user cannot become root without a password (sudo -n)'; exit ${NO_RIGHT_EXIT_CODE}; }
`;

/**
 * Makes the next host key, once: the hard link decides among joins at the same time. Prints its public half. The private half
 * never leaves the machine.
 */
const PREPARE_SCRIPT = `# spillway: prepare host key
${AS_ROOT}
as_root sh -s "$key" <<'ROOT'
set -eu
umask 077
command -v ssh-keygen >/dev/null || { echo 'there is no ssh-keygen'; exit ${NO_KEYGEN_EXIT_CODE}; }
next=$1.spillway
if [ ! -f "$next" ]; then
  made=$(mktemp -d "$1.XXXXXX")
  ssh-keygen -q -t ed25519 -N '' -C spillway -f "$made/key" </dev/null
  ln "$made/key" "$next" 2>/dev/null || [ -f "$next" ]
  rm -rf "$made"
fi
ssh-keygen -y -f "$next"
ROOT
`;

/** Puts the key in place that has this public half, its proof beside it, and makes sshd read it. Safe to repeat. */
function activateScript(key: string, proof: string): string {
  const [, base64 = ''] = key.split(' ');
  return `# spillway: activate host key ${base64} ${proof}
${AS_ROOT}
as_root sh -s "$key" ${base64} ${proof} <<'ROOT'
set -eu
umask 077
half() { ssh-keygen -y -f "$1" | cut -d ' ' -f 2; }
printf '%s\\n' "$3" >"$1.proof.spillway"
chmod 644 "$1.proof.spillway"
mv -f "$1.proof.spillway" "$1.proof"
if [ "$(half "$1")" != "$2" ]; then
  [ "$(half "$1.spillway")" = "$2" ] || { echo 'the key that was prepared is not the one that was pinned'; exit 1; }
  mv -f "$1.spillway" "$1"
fi
ssh-keygen -y -f "$1" >"$1.pub.spillway"
chmod 644 "$1.pub.spillway"
mv -f "$1.pub.spillway" "$1.pub"
rm -f "$1.spillway" "$1-cert.pub"
# Debian says ssh, others sshd. While it starts anew it takes no connections; the next one comes at once.
if systemctl reload ssh 2>/dev/null || systemctl reload sshd 2>/dev/null; then sleep 0.3 2>/dev/null || sleep 1; fi
ROOT
`;
}

/** What the machine has to show for a key of its own. */
const PROOF_SCRIPT = `# spillway: proof of the host key
cat "\${SPILLWAY_HOST_KEY_FILE:-/etc/ssh/ssh_host_ed25519_key}.proof"
`;

export const shMachine: MachineDialect = {
  places: { agent: '.spillway/agent.sh', recipe: '.spillway/recipe.sh', env: '.spillway/recipe.env' },
  helpers: [],
  content: (_path, text) => text,
  joinScript: JOIN_SCRIPT,
  prepareHostKey: PREPARE_SCRIPT,
  activateHostKey: activateScript,
  proofOfHostKey: PROOF_SCRIPT,
};
