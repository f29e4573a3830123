# A machine with Windows for work of your own: a service that the image has, started, and a probe that tells Spillway of its work.
# Windows PowerShell 5.1. It was never run on a real Windows.
#   SERVICE   name of a Windows service that must run, such as render-worker
#   PROBE     optional: PowerShell that prints how many tasks run, such as (Get-Process render -ErrorAction SilentlyContinue).Count
#   FEATURES  optional: Windows features to install, such as "NET-Framework-45-Core Web-Server"
# Exit codes: 0 = go on, 75 = not now, anything else = the machine is replaced.
if (-not $env:SERVICE) {
  Write-Output 'recipe: SERVICE is missing'
  exit 2
}
$changes = 0
foreach ($feature in "$env:FEATURES" -split ' ' | Where-Object { $_ -ne '' }) {
  if ((Get-WindowsFeature -Name $feature).Installed) { continue }
  $result = Install-WindowsFeature -Name $feature
  $changes += 1
  if ($result.RestartNeeded -eq 'Yes') {
    # A restart ends the join; the next one finds the feature.
    Restart-Computer -Force
    exit 75
  }
}
if (-not (Get-Service -Name $env:SERVICE -ErrorAction SilentlyContinue)) {
  Write-Output "recipe: there is no service $env:SERVICE in the image"
  exit 1
}
if ((Get-Service -Name $env:SERVICE).Status -ne 'Running') {
  Set-Service -Name $env:SERVICE -StartupType Automatic
  Start-Service -Name $env:SERVICE
  $changes += 1
}
# Without a probe nobody knows of the work of other engines, and the machine counts as idle.
if ($env:PROBE) { Add-Content -LiteralPath $env:SPILLWAY_AGENT_SETTINGS -Encoding ASCII -Value ('SPILLWAY_PROBE=' + $env:PROBE) }
if ($changes -eq 0) { Write-Output 'recipe: done: nothing had to change' }
else { Write-Output "recipe: done: $changes changes" }
exit 0
