/** Machines with Windows PowerShell 5.1 and Windows' own OpenSSH. None of these texts was ever run on a real Windows. */
import { powershellFile, PROTECT_FUNCTION, wholePowershellScript } from '../model/powershell.ts';
import {
  JOIN_BUSY_EXIT_CODE,
  NO_KEYGEN_EXIT_CODE,
  NO_RIGHT_EXIT_CODE,
  RECIPE_OUTPUT_BYTES,
  type MachineDialect,
} from './dialect.ts';

/** Runs in a process of its own, so that neither its `exit` nor its preferences reach the join. */
const RECIPE_RUN = wholePowershellScript(`Set-Location -LiteralPath $PSScriptRoot
. (Join-Path $PSScriptRoot 'recipe.env.ps1')
$env:SPILLWAY_AGENT_SETTINGS = Join-Path $PSScriptRoot 'agent.recipe'
& (Join-Path $PSScriptRoot 'recipe.ps1')`);

/**
 * Starts recipe and agent, safe to repeat. The agent is a task of the Task Scheduler: it has no part in the session that started it,
 * starts with the machine, and is started again within a minute when it died. Everything it needs lies in files beside it.
 */
const JOIN_SCRIPT = `# spillway: join
$folder = Join-Path $env:USERPROFILE '.spillway'
Set-Location -LiteralPath $folder
# One join at a time. Windows opens the lock again as soon as whoever held it is gone, however that went.
try { $lock = [IO.File]::Open((Join-Path $folder 'join.lock'), 'OpenOrCreate', 'ReadWrite', 'None') }
catch [IO.IOException] { exit ${JOIN_BUSY_EXIT_CODE} }
# What the recipe has the agent know, one KEY=VALUE per line; each run says it anew.
$told = Join-Path $folder 'agent.recipe'
[IO.File]::WriteAllText($told, '')
if (Test-Path -LiteralPath 'recipe.ps1') {
  # cmd.exe writes both streams into one file as they come; PowerShell 5.1 would make errors of standard error.
  & cmd.exe /d /c 'powershell.exe -NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -File recipe-run.ps1 >recipe.log 2>&1 <nul'
  $code = $LASTEXITCODE
  # What it said is kept with the machine; the end of it is what tells why it failed.
  $said = [IO.File]::ReadAllBytes((Join-Path $folder 'recipe.log'))
  $from = [Math]::Max(0, $said.Length - ${RECIPE_OUTPUT_BYTES})
  [Console]::Out.Write([Text.Encoding]::UTF8.GetString($said, $from, $said.Length - $from))
  if ($code -ne 0) { exit $code }
}
$task = 'spillway-agent'
if (Get-ScheduledTask -TaskName $task -ErrorAction SilentlyContinue) {
  Stop-ScheduledTask -TaskName $task
  # An agent that still runs has the state folder to itself.
  for ($tries = 0; $tries -lt 20; $tries += 1) {
    if ((Get-ScheduledTask -TaskName $task).State -ne 'Running') { break }
    Start-Sleep -Milliseconds 500
  }
}
# The recipe's lines first, because of a setting that comes twice the last one counts: the service's own word.
$lines = [IO.File]::ReadAllText($told) + "\`n" + [IO.File]::ReadAllText((Join-Path $folder 'agent.settings'))
$settings = Join-Path $folder 'agent.env'
[IO.File]::WriteAllText($settings, $lines + "\`nSPILLWAY_STATE_DIR=" + (Join-Path $folder 'state') + "\`n")
Remove-Item -LiteralPath 'agent.settings' -Force
foreach ($old in 'state\\left', 'agent.log') { Remove-Item -LiteralPath $old -Force -ErrorAction SilentlyContinue }
$arguments = '-NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -File "' + (Join-Path $folder 'agent.ps1') + '" "' + $settings + '"'
$program = Join-Path $PSHOME 'powershell.exe'
$parts = @{
  TaskName = $task
  Action = New-ScheduledTaskAction -Execute $program -Argument $arguments -WorkingDirectory $folder
  Trigger = @(
    (New-ScheduledTaskTrigger -AtStartup),
    (New-ScheduledTaskTrigger -Once -At (Get-Date) -RepetitionInterval (New-TimeSpan -Minutes 1))
  )
  Settings = New-ScheduledTaskSettingsSet -MultipleInstances IgnoreNew -ExecutionTimeLimit ([TimeSpan]::Zero) -StartWhenAvailable
  User = 'S-1-5-18'
  RunLevel = 'Highest'
  Force = $true
}
$null = Register-ScheduledTask @parts
Start-ScheduledTask -TaskName $task
# Wrong settings end an agent at once; here its last words still reach whoever asks why.
Start-Sleep -Seconds 3
if ((Get-ScheduledTask -TaskName $task).State -ne 'Running') {
  if (Test-Path -LiteralPath 'agent.log') { Get-Content -LiteralPath 'agent.log' -Tail 20 }
  exit 70
}
exit 0
`;

const HOST_KEY = `$key = Join-Path $env:ProgramData 'ssh\\ssh_host_ed25519_key'
$next = $key + '.spillway'
`;

/** Everything about host keys is for administrators only. \`""\` is how PowerShell 5.1 hands on an empty word. */
const KEY_TOOLS = `$me = New-Object Security.Principal.WindowsPrincipal ([Security.Principal.WindowsIdentity]::GetCurrent())
if (-not $me.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
  Write-Output 'the login user is not an administrator'
  exit ${NO_RIGHT_EXIT_CODE}
}
$keygen = Join-Path $env:SystemRoot 'System32\\OpenSSH\\ssh-keygen.exe'
if (-not (Test-Path -LiteralPath $keygen)) {
  Write-Output 'there is no ssh-keygen'
  exit ${NO_KEYGEN_EXIT_CODE}
}
function Read-Half([string] $path) {
  $line = & $keygen -y -f $path
  if ($LASTEXITCODE -ne 0) { throw ('ssh-keygen could not read ' + $path) }
  return $line
}
${PROTECT_FUNCTION}${HOST_KEY}`;

/** A file is moved where no file is yet, or not at all: that decides among joins at the same time. */
const PREPARE_SCRIPT = `# spillway: prepare host key
${KEY_TOOLS}if (-not (Test-Path -LiteralPath $next)) {
  $made = $key + '.' + [Guid]::NewGuid().ToString('N')
  & $keygen -q -t ed25519 -N '""' -C spillway -f $made
  if ($LASTEXITCODE -ne 0) { throw 'ssh-keygen made no key' }
  Protect-File $made
  try { [IO.File]::Move($made, $next) }
  catch [IO.IOException] { if (-not (Test-Path -LiteralPath $next)) { throw } }
  foreach ($rest in $made, ($made + '.pub')) { Remove-Item -LiteralPath $rest -Force -ErrorAction SilentlyContinue }
}
Read-Half $next
exit 0
`;

/** Sessions that stand outlive the restart of the service. */
function activateScript(key: string, proof: string): string {
  const [, base64 = ''] = key.split(' ');
  return `# spillway: activate host key ${base64} ${proof}
${KEY_TOOLS}function Write-Whole([string] $path, [string] $text) {
  [IO.File]::WriteAllText($path + '.new', $text + "\`n")
  Move-Item -LiteralPath ($path + '.new') -Destination $path -Force
}
Write-Whole ($key + '.proof') '${proof}'
if (((Read-Half $key) -split ' ')[1] -cne '${base64}') {
  if (((Read-Half $next) -split ' ')[1] -cne '${base64}') {
    Write-Output 'the key that was prepared is not the one that was pinned'
    exit 1
  }
  Protect-File $next
  [IO.File]::Replace($next, $key, [NullString]::Value)
  Protect-File $key
}
Write-Whole ($key + '.pub') (Read-Half $key)
foreach ($rest in $next, ($key + '-cert.pub')) { Remove-Item -LiteralPath $rest -Force -ErrorAction SilentlyContinue }
Restart-Service -Name sshd -Force
exit 0
`;
}

const PROOF_SCRIPT = `# spillway: proof of the host key
${HOST_KEY}Get-Content -LiteralPath ($key + '.proof')
`;

export const powershellMachine: MachineDialect = {
  places: { agent: '.spillway/agent.ps1', recipe: '.spillway/recipe.ps1', env: '.spillway/recipe.env.ps1' },
  helpers: [{ path: '.spillway/recipe-run.ps1', content: RECIPE_RUN, mode: 0o600 }],
  content: (path, text) => (path.endsWith('.ps1') ? powershellFile(text) : text),
  joinScript: JOIN_SCRIPT,
  prepareHostKey: PREPARE_SCRIPT,
  activateHostKey: activateScript,
  proofOfHostKey: PROOF_SCRIPT,
};
