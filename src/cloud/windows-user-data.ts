import { PROTECT_FUNCTION, quoteForPowershell } from '../model/powershell.ts';
import type { HostKey } from './host-key.ts';

export interface WindowsUserDataInput {
  /** As `deriveHostKey` gives it; or the machine keeps those of its `image`. */
  readonly hostKey: HostKey | 'image';
  /** One OpenSSH public key line. */
  readonly authorizedKey: string;
  /** An administrator; made when there is none of that name. */
  readonly sshUser: string;
}

/**
 * The script of a Windows machine for EC2Launch (v1 and v2), which runs it once, as SYSTEM. Same input, same bytes. sshd stays down
 * until its keys are in place, so that none of the image's own is ever shown instead of the injected one.
 *
 * Windows Server 2025 brings OpenSSH; 2019 and 2022 fetch it from Windows Update, unless the image has it. sshd lets administrators in by
 * one file for all of them, and uses neither it nor a host key that others may write or read.
 */
export function renderWindowsUserData({ hostKey, authorizedKey, sshUser }: WindowsUserDataInput): string {
  return [
    '<powershell>',
    "$ErrorActionPreference = 'Stop'",
    "$ProgressPreference = 'SilentlyContinue'",
    PROTECT_FUNCTION.trimEnd(),
    'function Write-Protected([string] $path, [string] $text) {',
    '  [IO.File]::WriteAllText($path, $null)',
    '  Protect-File $path',
    '  [IO.File]::WriteAllText($path, $text)',
    '}',
    'if (-not (Get-Service -Name sshd -ErrorAction SilentlyContinue)) {',
    "  $null = Add-WindowsCapability -Online -Name 'OpenSSH.Server~~~~0.0.1.0'",
    '}',
    'Stop-Service -Name sshd -Force -ErrorAction SilentlyContinue',
    "$folder = Join-Path $env:ProgramData 'ssh'",
    '$null = New-Item -ItemType Directory -Path $folder -Force',
    "$programs = Join-Path $env:SystemRoot 'System32\\OpenSSH'",
    ...hostKeyLines(hostKey),
    `Write-Protected (Join-Path $folder 'administrators_authorized_keys') (${quoteForPowershell(authorizedKey)} + "\`n")`,
    "$config = Join-Path $folder 'sshd_config'",
    'if (-not (Test-Path -LiteralPath $config)) {',
    "  Copy-Item -LiteralPath (Join-Path $programs 'sshd_config_default') -Destination $config",
    '}',
    // The first line that says something counts.
    '[IO.File]::WriteAllText($config, "PasswordAuthentication no`r`n" + [IO.File]::ReadAllText($config))',
    ...userLines(sshUser),
    "if (-not (Get-NetFirewallRule -Name 'spillway-sshd' -ErrorAction SilentlyContinue)) {",
    "  $sshd = Join-Path $programs 'sshd.exe'",
    "  $rule = @{ Name = 'spillway-sshd'; DisplayName = 'OpenSSH for Spillway'; Direction = 'Inbound'; Protocol = 'TCP' }",
    "  $null = New-NetFirewallRule @rule -Program $sshd -Action 'Allow' -Profile 'Any'",
    '}',
    'Set-Service -Name sshd -StartupType Automatic',
    'Start-Service -Name sshd',
    '</powershell>',
    '',
  ].join('\n');
}

function hostKeyLines(hostKey: WindowsUserDataInput['hostKey']): readonly string[] {
  if (hostKey === 'image') return [];
  return [
    "Remove-Item -Path (Join-Path $folder 'ssh_host_*') -Force -ErrorAction SilentlyContinue",
    "$key = Join-Path $folder 'ssh_host_ed25519_key'",
    `Write-Protected $key ${quoteForPowershell(hostKey.privateOpenSsh)}`,
    `[IO.File]::WriteAllText($key + '.pub', ${quoteForPowershell(hostKey.publicOpenSsh)} + "\`n")`,
  ];
}

/** Nobody knows the password of a user that is made here; sshd asks for none. */
function userLines(sshUser: string): readonly string[] {
  return [
    `$user = ${quoteForPowershell(sshUser)}`,
    'if (-not (Get-LocalUser -Name $user -ErrorAction SilentlyContinue)) {',
    '  $random = New-Object byte[] 32',
    '  [Security.Cryptography.RandomNumberGenerator]::Create().GetBytes($random)',
    "  $password = ConvertTo-SecureString -AsPlainText -Force ('aA1!' + [Convert]::ToBase64String($random))",
    '  $null = New-LocalUser -Name $user -Password $password -PasswordNeverExpires',
    "  Add-LocalGroupMember -SID 'S-1-5-32-544' -Member $user",
    '}',
  ];
}
