/** Texts of Windows PowerShell 5.1, which every Windows has: values as literals, and scripts with an exact end. */
import { AppError } from './errors.ts';

/** PowerShell takes each of these for the quote that ends a single-quoted string, and two in a row for one that belongs to it. */
const QUOTES = /['\u2018\u2019\u201a\u201b]/g;

/** Without it 5.1 reads a script in the code page of the machine. */
const BYTE_ORDER_MARK = '\uFEFF';

/**
 * `value` as a single-quoted string, in which nothing is special but the quotes. Throws POLICY_INVALID for what no variable of an
 * environment can hold (NUL) or no file can carry unchanged (half of a surrogate pair).
 */
export function quoteForPowershell(value: string): string {
  if (value.includes('\0') || !value.isWellFormed()) {
    throw new AppError('POLICY_INVALID', 'A value for the join recipe holds a NUL or broken Unicode.', {
      remedy: 'Remove the character; pass binary data base64-encoded.',
    });
  }
  return `'${value.replaceAll(QUOTES, '$&$&')}'`;
}

/** A script as its file has to be. */
export function powershellFile(script: string): string {
  return script.startsWith(BYTE_ORDER_MARK) ? script : `${BYTE_ORDER_MARK}${script}`;
}

/**
 * Whatever goes wrong ends it, with 1; else it ends as the last program did that it ran, or as `exit` says. No progress bars, which
 * come as XML on standard error. Where there is no console its encoding cannot be set, and need not be.
 */
export function wholePowershellScript(script: string): string {
  return `$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
try { [Console]::OutputEncoding = New-Object Text.UTF8Encoding $false } catch { $null = $_ }
$OutputEncoding = New-Object Text.UTF8Encoding $false
try {
  & {
${script}
  }
} catch {
  [Console]::Error.WriteLine(($_ | Out-String).Trim())
  exit 1
}
if (Test-Path -LiteralPath Variable:\\LASTEXITCODE) { exit $LASTEXITCODE }
exit 0
`;
}

/**
 * What a private key of sshd and the file of authorised keys must look like, or sshd does not use them: SYSTEM and Administrators, by
 * their numbers, because their names are translated.
 */
export const PROTECT_FUNCTION = `function Protect-File([string] $path) {
  $acl = New-Object Security.AccessControl.FileSecurity
  $acl.SetAccessRuleProtection($true, $false)
  $acl.SetOwner((New-Object Security.Principal.SecurityIdentifier 'S-1-5-32-544'))
  foreach ($number in 'S-1-5-18', 'S-1-5-32-544') {
    $who = New-Object Security.Principal.SecurityIdentifier $number
    $acl.AddAccessRule((New-Object Security.AccessControl.FileSystemAccessRule($who, 'FullControl', 'Allow')))
  }
  [IO.File]::SetAccessControl($path, $acl)
}
`;
