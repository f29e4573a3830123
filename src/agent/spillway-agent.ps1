# The Spillway agent for Windows: registers a machine, reports its capacity and use, and tells of tasks of other engines. Windows
# PowerShell 5.1 and nothing else. The words it exchanges with the service are in PROTOCOL.md. It runs no tasks of Spillway's own engine:
# those are scripts for sh, and it answers an order to run one with 126, which means that it could not be started.
# It was never run on a real Windows.
#
#   powershell.exe -File spillway-agent.ps1 ENV_FILE      one KEY=VALUE per line; the file holds a credential
#     SPILLWAY_URL           https://host:port (http:// only to loopback, or with SPILLWAY_ALLOW_HTTP=1)
#     SPILLWAY_STATE_DIR     absolute path; keeps the identity over a restart
#     SPILLWAY_ENROL_TOKEN   needed once, until the agent has a token of its own
#     SPILLWAY_NAME          default: the computer's name       SPILLWAY_LABELS   pool=media,rack=a1
#     SPILLWAY_CPUS, SPILLWAY_MEMORY_MIB   offer this instead of what the machine has
#     SPILLWAY_PROBE         PowerShell that tells of tasks of other engines here: one number, or a line for each
#     SPILLWAY_DEADMAN_S     without an accepted report for so long the machine shuts down; default 0: never
#     SPILLWAY_DEADMAN_TASKS 0 (default): but not while the probe tells of tasks, or fails; 1: also then
#
# Exit codes: 0 left, 2 settings, 3 credentials refused, 4 a newer agent has this identity, 5 an agent already runs on this state folder.
# Whom to trust for https:// is Windows' own business: bring a CA of yours into LocalMachine\Root, by the image or the recipe.
param(
  [Parameter(Mandatory = $true)] [string] $EnvFile
)
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$ascii = [Text.Encoding]::ASCII
$logFile = Join-Path (Split-Path -Parent $EnvFile) 'agent.log'

function Write-Log([string] $text) {
  # The log is for people who look why a machine does not join; a machine's life is no reason to fill its disk.
  if ((Test-Path -LiteralPath $logFile) -and (Get-Item -LiteralPath $logFile).Length -gt 1048576) { Clear-Content -LiteralPath $logFile }
  Add-Content -LiteralPath $logFile -Encoding UTF8 -Value ((Get-Date).ToUniversalTime().ToString('s') + 'Z spillway-agent: ' + $text)
}
function Stop-Agent([int] $code, [string] $text) {
  Write-Log $text
  exit $code
}

# --- settings ---
$settings = @{
  SPILLWAY_URL = ''; SPILLWAY_STATE_DIR = ''; SPILLWAY_ENROL_TOKEN = ''; SPILLWAY_NAME = ''; SPILLWAY_LABELS = ''; SPILLWAY_CPUS = ''
  SPILLWAY_MEMORY_MIB = ''; SPILLWAY_PROBE = ''; SPILLWAY_ALLOW_HTTP = '0'; SPILLWAY_DEADMAN_S = '0'; SPILLWAY_DEADMAN_TASKS = '0'
}
foreach ($line in [IO.File]::ReadAllLines($EnvFile)) {
  if ($line -eq '' -or $line.StartsWith('#')) { continue }
  $name, $value = $line -split '=', 2
  if (-not $settings.ContainsKey($name)) { Stop-Agent 2 "unknown setting $name" }
  $settings[$name] = $value
}
$url = $settings.SPILLWAY_URL.TrimEnd('/')
$isLoopback = $url -match '^http://(127\.[0-9.]+|localhost|\[::1\])(:[0-9]+)?$'
if ($url -notmatch '^https?://[A-Za-z0-9:./_~%\[\]-]+$') { Stop-Agent 2 'SPILLWAY_URL must be http:// or https://' }
if ($url.StartsWith('http://') -and -not $isLoopback -and $settings.SPILLWAY_ALLOW_HTTP -ne '1') {
  Stop-Agent 2 'SPILLWAY_URL is http:// and not loopback: use https://, or SPILLWAY_ALLOW_HTTP=1 on a private route'
}
if ($settings.SPILLWAY_ENROL_TOKEN -notmatch '^[A-Za-z0-9._~+/=-]*$') { Stop-Agent 2 'SPILLWAY_ENROL_TOKEN is not a token' }
if (-not [IO.Path]::IsPathRooted($settings.SPILLWAY_STATE_DIR)) { Stop-Agent 2 'SPILLWAY_STATE_DIR must be an absolute path' }
foreach ($number in 'SPILLWAY_CPUS', 'SPILLWAY_MEMORY_MIB') {
  if ($settings[$number] -notmatch '^([1-9][0-9]{0,9})?$') { Stop-Agent 2 "$number must be a whole number above 0" }
}
if ($settings.SPILLWAY_DEADMAN_S -notmatch '^[0-9]{1,9}$') { Stop-Agent 2 'SPILLWAY_DEADMAN_S must be a whole number of seconds; 0 = never' }
if ($settings.SPILLWAY_DEADMAN_TASKS -notmatch '^[01]$') { Stop-Agent 2 'SPILLWAY_DEADMAN_TASKS must be 0 or 1' }

# --- state ---
$state = $settings.SPILLWAY_STATE_DIR
$null = New-Item -ItemType Directory -Path $state -Force
# Windows opens it again as soon as whoever held it is gone, however that went.
try { $lock = [IO.File]::Open((Join-Path $state 'agent.lock'), 'OpenOrCreate', 'ReadWrite', 'None') }
catch [IO.IOException] { exit 5 }
$leftFile = Join-Path $state 'left'
# The Task Scheduler starts us every minute; whoever was told to leave stays away until the next join.
if (Test-Path -LiteralPath $leftFile) { exit 0 }
$tokenFile = Join-Path $state 'token'
$lastFile = Join-Path $state 'last'
$probeFile = Join-Path $state 'probe.ps1'
[IO.File]::WriteAllText($probeFile, $settings.SPILLWAY_PROBE, (New-Object Text.UTF8Encoding $true))

$boot = [Guid]::NewGuid().ToString()
$agent = @{
  Token = ''; Seq = 0; Failures = 0; Interval = 10; Lease = 60; Cordon = 'uncordon 0'; Leaving = $false; Changed = $false; RetryAfter = 0
  Others = '0'; ShutdownS = -60; LastOkS = 0.0
}
# Orders to run something, which cannot be obeyed: told as ended until the service has heard it.
$refused = @{}

# Seconds since the machine started, on a clock that nobody can set.
function Get-Now { return [Diagnostics.Stopwatch]::GetTimestamp() / [Diagnostics.Stopwatch]::Frequency }
function Save-LastOk([double] $atS) {
  $agent.LastOkS = $atS
  [IO.File]::WriteAllText($lastFile, $atS.ToString([Globalization.CultureInfo]::InvariantCulture))
}

# --- the machine ---
$computer = Get-CimInstance -ClassName Win32_ComputerSystem
$cpus = if ($settings.SPILLWAY_CPUS -ne '') { [int] $settings.SPILLWAY_CPUS } else { [int] $computer.NumberOfLogicalProcessors }
$total = [Math]::Floor((Get-CimInstance -ClassName Win32_OperatingSystem).TotalVisibleMemorySize / 1024)
$memory = if ($settings.SPILLWAY_MEMORY_MIB -ne '') { [int] $settings.SPILLWAY_MEMORY_MIB } else { [int] $total }
$hostName = if ($settings.SPILLWAY_NAME -ne '') { $settings.SPILLWAY_NAME } else { $env:COMPUTERNAME.ToLowerInvariant() }
$capacity = 'capacity {0} {1}' -f ($cpus * 1000), $memory

# An absent line means that the use is not known.
function Get-Use {
  try {
    $load = (Get-CimInstance -ClassName Win32_Processor | Measure-Object -Property LoadPercentage -Average).Average
    $free = [Math]::Floor((Get-CimInstance -ClassName Win32_OperatingSystem).FreePhysicalMemory / 1024)
    $cpu = [Math]::Min($cpus * 1000, [Math]::Round($cpus * 10 * $load))
    return 'used {0} {1}' -f $cpu, [Math]::Max(0, [Math]::Min($memory, $total - $free))
  } catch { return $null }
}
# 5 s are enough for every list of tasks; a probe that fails counts as one.
function Read-Probe {
  if ($settings.SPILLWAY_PROBE -eq '') { return '0' }
  $start = New-Object Diagnostics.ProcessStartInfo
  $start.FileName = Join-Path $PSHOME 'powershell.exe'
  $start.Arguments = '-NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -File "' + $probeFile + '"'
  $start.UseShellExecute = $false
  $start.CreateNoWindow = $true
  $start.RedirectStandardOutput = $true
  $probe = [Diagnostics.Process]::Start($start)
  try {
    $reading = $probe.StandardOutput.ReadToEndAsync()
    if (-not $probe.WaitForExit(5000)) {
      $null = & (Join-Path $env:SystemRoot 'System32\taskkill.exe') /T /F /PID $probe.Id
      return 'unknown'
    }
    # What it started may hold the pipe open.
    if ($probe.ExitCode -ne 0 -or -not $reading.Wait(1000)) { return 'unknown' }
    $lines = @($reading.Result -split '\r?\n' | Where-Object { $_.Trim() -ne '' })
    if ($lines.Count -eq 1 -and $lines[0].Trim() -match '^[0-9]{1,9}$') { return ([int] $lines[0].Trim()).ToString() }
    return $lines.Count.ToString()
  } finally { $probe.Dispose() }
}

# --- talking ---
[Net.ServicePointManager]::SecurityProtocol = [Net.SecurityProtocolType]::Tls12
[Net.ServicePointManager]::Expect100Continue = $false

# Status 0 = no answer.
function Send-Lines([string] $path, [string] $token, [string[]] $lines, [int] $limitS) {
  $response = $null
  $agent.RetryAfter = 0
  try {
    $request = [Net.HttpWebRequest] [Net.WebRequest]::Create($url + $path)
    $request.Method = 'POST'
    $request.Proxy = $null
    $request.AllowAutoRedirect = $false
    $request.ContentType = 'text/plain; charset=utf-8'
    $request.Headers['Authorization'] = 'Bearer ' + $token
    $request.Timeout = $limitS * 1000
    $request.ReadWriteTimeout = $limitS * 1000
    $body = $ascii.GetBytes(($lines -join "`n") + "`n")
    $stream = $request.GetRequestStream()
    $stream.Write($body, 0, $body.Length)
    $stream.Close()
    try { $response = $request.GetResponse() }
    catch {
      # PowerShell wraps what a method throws; an answer that refuses is in it.
      $failure = $_.Exception
      if ($failure.InnerException -is [Net.WebException]) { $failure = $failure.InnerException }
      if ($failure -isnot [Net.WebException] -or $null -eq $failure.Response) { throw }
      $response = $failure.Response
    }
    $again = $response.Headers['Retry-After']
    if ($again -match '^[0-9]{1,3}$') { $agent.RetryAfter = [Math]::Min(300, [int] $again) }
    $reader = New-Object IO.StreamReader($response.GetResponseStream(), $ascii)
    return @{ Status = [int] $response.StatusCode; Lines = @($reader.ReadToEnd() -split "`n" | Where-Object { $_ -ne '' }) }
  } catch {
    return @{ Status = 0; Lines = @() }
  } finally { if ($null -ne $response) { $response.Close() } }
}
function Set-Seconds([string] $name, [string] $value) {
  if ($value -match '^[0-9]{1,4}$' -and [int] $value -ge 1 -and [int] $value -le 3600) { $agent[$name] = [int] $value }
}
# Whoever cannot reach the service is steered by nobody, and costs money by the hour.
function Test-DeadMan {
  $limitS = [int] $settings.SPILLWAY_DEADMAN_S
  $nowS = Get-Now
  if ($limitS -eq 0 -or $nowS - $agent.LastOkS -lt $limitS -or $nowS - $agent.ShutdownS -lt 60) { return }
  if ($settings.SPILLWAY_DEADMAN_TASKS -eq '0' -and (Read-Probe) -ne '0') { return }
  $agent.ShutdownS = $nowS
  Write-Log 'no accepted report for too long: shutting the machine down'
  $null = & (Join-Path $env:SystemRoot 'System32\shutdown.exe') /s /f /t 0
}
function Wait-Longer {
  $agent.Failures += 1
  $stepS = [Math]::Pow(2, [Math]::Min(4, $agent.Failures - 1))
  $pauseMs = $stepS * (Get-Random -Minimum 500 -Maximum 1500)
  if ($pauseMs -lt $agent.RetryAfter * 1000) { $pauseMs = $agent.RetryAfter * (Get-Random -Minimum 1000 -Maximum 1500) }
  Test-DeadMan
  Start-Sleep -Milliseconds $pauseMs
}
function Register-Agent {
  if ($settings.SPILLWAY_ENROL_TOKEN -eq '') { Stop-Agent 3 'no credentials: the service does not know this agent and there is no SPILLWAY_ENROL_TOKEN' }
  $refused.Clear()
  $lines = @('protocol 1', ('name ' + $hostName), ('boot ' + $boot), $capacity, 'arch x86_64')
  foreach ($label in $settings.SPILLWAY_LABELS -split ',') {
    $key, $value = $label -split '=', 2
    if ($key -ne '' -and $null -ne $value) { $lines += ('label ' + $key + ' ' + $value) }
  }
  while ($true) {
    $answer = Send-Lines '/agent/v1/register' $settings.SPILLWAY_ENROL_TOKEN $lines 20
    if ($answer.Status -eq 200) { break }
    if ($answer.Status -in 401, 403) { Stop-Agent 3 'the enrolment token was refused: it is used, expired or unknown' }
    if ($answer.Status -eq 400) { Stop-Agent 2 ('registration refused: ' + ($answer.Lines | Select-Object -First 1)) }
    Wait-Longer
  }
  $token = ''
  foreach ($line in $answer.Lines) {
    $word, $value = $line -split ' ', 3
    switch -CaseSensitive ($word) {
      'token' { $token = $value }
      'interval' { Set-Seconds 'Interval' $value }
      'lease' { Set-Seconds 'Lease' $value }
      'agent' { Write-Log "registered as $value" }
    }
  }
  if ($token -notmatch '^[A-Za-z0-9._~+/=-]+$') { Stop-Agent 3 'the answer to the registration has no token' }
  [IO.File]::WriteAllText($tokenFile, $token)
  $agent.Token = $token
  $agent.Failures = 0
  Save-LastOk (Get-Now)
}
# One report, and what came back. 10 s more than the service may hold its answer.
function Send-Report([int] $holdS, [string] $last) {
  $agent.Seq += 1
  $lines = @(('boot ' + $boot), ('seq ' + $agent.Seq), $capacity, 'arch x86_64')
  $use = Get-Use
  if ($null -ne $use) { $lines += $use }
  $lines += @($agent.Cordon, ('wait ' + $holdS))
  if ($settings.SPILLWAY_PROBE -ne '') { $lines += ('others ' + $agent.Others) }
  foreach ($task in $refused.Keys) { $lines += ('task ' + $task + ' exited 126') }
  if ($last -ne '') { $lines += $last }
  return Send-Lines '/agent/v1/heartbeat' $agent.Token $lines ($holdS + 10)
}
function Set-Cordon([string] $word, [string] $number) {
  if ($number -notmatch '^[0-9]{1,12}$' -or $agent.Cordon -ceq "$word $number") { return }
  $agent.Cordon = "$word $number"
  $agent.Changed = $true
}
function Invoke-Orders([string[]] $lines) {
  foreach ($line in $lines) {
    $word, $a, $b, $rest = $line -split ' ', 4
    switch -CaseSensitive ($word) {
      'interval' { Set-Seconds 'Interval' $a }
      'lease' { Set-Seconds 'Lease' $a }
      'cordon' { Set-Cordon $word $a }
      'uncordon' { Set-Cordon $word $a }
      'run' {
        if ($a -cmatch '^tk-[0-9a-z]{12}$' -and $b -match '^[0-9]{1,12}$' -and -not $refused.ContainsKey("$a $b")) {
          Write-Log "cannot run $a`: this agent runs no tasks of Spillway"
          $refused["$a $b"] = $true
          $agent.Changed = $true
        }
      }
      'ack' { $refused.Remove("$a $b") }
      'stop' { $refused.Remove("$a $b") }
      'leave' { $agent.Leaving = $true }
    }
  }
}
function Exit-Left {
  $null = Send-Report 0 'leaving'
  [IO.File]::WriteAllText($leftFile, '')
  Stop-Agent 0 'left'
}

# --- life ---
$agent.LastOkS = Get-Now
if (Test-Path -LiteralPath $lastFile) {
  $known = 0.0
  $style = [Globalization.NumberStyles]::Float
  $parsed = [double]::TryParse([IO.File]::ReadAllText($lastFile), $style, [Globalization.CultureInfo]::InvariantCulture, [ref] $known)
  # Of an earlier start of the machine the number says nothing.
  if ($parsed -and $known -lt $agent.LastOkS) { $agent.LastOkS = $known }
}
if (Test-Path -LiteralPath $tokenFile) { $agent.Token = [IO.File]::ReadAllText($tokenFile).Trim() }
if ($agent.Token -eq '') { Register-Agent }
while ($true) {
  $agent.Changed = $false
  if ($agent.Leaving -and $refused.Count -eq 0) { Exit-Left }
  $agent.Others = Read-Probe
  # Three reports fit into a lease even when one is lost.
  $holdS = [Math]::Max(1, [Math]::Min(55, [Math]::Min($agent.Interval, [Math]::Floor($agent.Lease / 3))))
  $sentS = Get-Now
  # An end is told at once.
  $answer = Send-Report $(if ($refused.Count -gt 0) { 0 } else { $holdS }) ''
  switch ($answer.Status) {
    200 {
      $agent.Failures = 0
      Save-LastOk $sentS
      Invoke-Orders $answer.Lines
      $restMs = [int] (($sentS + $holdS - (Get-Now)) * 1000)
      if (-not $agent.Changed -and -not $agent.Leaving -and $restMs -gt 0) { Start-Sleep -Milliseconds $restMs }
    }
    401 {
      Write-Log 'the service does not know this agent'
      Remove-Item -LiteralPath $tokenFile -Force -ErrorAction SilentlyContinue
      Register-Agent
      $agent.Seq = 0
    }
    409 { Stop-Agent 4 'a newer agent speaks for this identity' }
    default { Wait-Longer }
  }
}
