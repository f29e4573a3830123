/**
 * Puts an agent that was uploaded to `~/.spillway-agent` to work, safe to repeat: one that runs there is replaced and keeps its
 * identity and its tasks. It runs as the user who logs in, under systemd where that manages this user, else in a session of its own.
 * The last line says which.
 */
export const INSTALL_SCRIPT = `set -eu
umask 077
cd "$HOME/.spillway-agent"
{
  cat agent.settings
  printf 'SPILLWAY_STATE_DIR=%s\\n' "$HOME/.spillway-agent/state"
  [ ! -f ca.pem ] || printf 'SPILLWAY_CA_FILE=%s\\n' "$HOME/.spillway-agent/ca.pem"
  # A simulated host cannot show its hardware in /proc; it tells it in its environment.
  if [ -n "\${SPILLWAY_SIMULATED_INSTANCE-}" ]; then
    printf 'SPILLWAY_CPUS=%s\\nSPILLWAY_MEMORY_MIB=%s\\nSPILLWAY_USED=tasks\\n' "$SPILLWAY_CPUS" "$SPILLWAY_MEMORY_MIB"
  fi
} >agent.env
rm -f agent.settings
manager=none
if [ -d /run/systemd/system ] && [ -z "\${SPILLWAY_SIMULATED_INSTANCE-}" ]; then
  if [ "$(id -u)" = 0 ]; then
    manager=system units=/etc/systemd/system target=multi-user.target
  elif XDG_RUNTIME_DIR=\${XDG_RUNTIME_DIR:-/run/user/$(id -u)} && export XDG_RUNTIME_DIR && systemctl --user show-environment >/dev/null 2>&1; then
    manager=user units=$HOME/.config/systemd/user target=default.target
    # Else the agent would end with the last log-in.
    loginctl enable-linger >/dev/null 2>&1 || echo 'loginctl enable-linger failed: the agent ends when this user has logged out'
  fi
fi
running=
if [ -s state/pid ]; then
  read -r old _ <state/pid
  if kill -0 "$old" 2>/dev/null; then running=$old; fi
fi
if [ "$manager" = none ]; then
  if [ -n "$running" ]; then
    # USR2: the agent goes and its tasks stay for the next one.
    kill -USR2 "$running"
    tries=0
    while kill -0 "$running" 2>/dev/null && [ "$tries" -lt 15 ]; do sleep 1; tries=$((tries + 1)); done
  fi
  nohup setsid sh ./agent.sh "$HOME/.spillway-agent/agent.env" >agent.log 2>&1 </dev/null &
  agent=$!
  # Wrong settings end an agent at once; here its last words still reach whoever asks why.
  sleep 0.2 2>/dev/null || sleep 1
  kill -0 "$agent" 2>/dev/null || { tail -n 20 agent.log; exit 70; }
else
  mkdir -p "$units"
  cat >"$units/spillway-agent.service" <<UNIT
[Unit]
Description=Spillway agent: runs tasks on this machine
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=/bin/sh %h/.spillway-agent/agent.sh %h/.spillway-agent/agent.env
ExecReload=/bin/kill -USR2 \\$MAINPID
Restart=always
RestartSec=1s
RestartPreventExitStatus=2 3 4 5
KillMode=process
TimeoutStopSec=30s
OOMPolicy=continue
UMask=0077

[Install]
WantedBy=$target
UNIT
  systemctl "--$manager" daemon-reload
  systemctl "--$manager" enable spillway-agent.service >/dev/null 2>&1
  # An agent that runs leaves its tasks to the next start, which follows at once; a restart would end them.
  if systemctl "--$manager" is-active --quiet spillway-agent.service; then
    systemctl "--$manager" reload spillway-agent.service
  else
    [ -z "$running" ] || kill -USR2 "$running"
    systemctl "--$manager" start spillway-agent.service
  fi
fi
echo "manager=$manager"
`;
