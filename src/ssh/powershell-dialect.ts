/**
 * Windows PowerShell 5.1 over Windows' own OpenSSH. The script is uploaded: what `powershell.exe` reads from its standard input it
 * takes for text of the console's code page, and a command line ends at 8191 characters. The command line is the same under cmd.exe and
 * under PowerShell, whichever is sshd's default shell: plain words and base64.
 */
import { createHash, randomUUID } from 'node:crypto';
import { powershellFile, quoteForPowershell, wholePowershellScript } from '../model/powershell.ts';
import { cleanOutput } from './clean-output.ts';
import type { ScriptDialect } from './dialect.ts';

const COMMAND = 'powershell.exe -NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -EncodedCommand';

/** A block of what PowerShell writes for another PowerShell instead of text: errors and progress. */
const CLIXML = /#< CLIXML\s*(?:<Objs [\s\S]*?<\/Objs>\s*)+/g;
const CLIXML_TEXT = /<S S="(?:Error|Warning|Output)">([\s\S]*?)<\/S>/g;
const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

export const powershellDialect: ScriptDialect = {
  hasModes: false,
  prepare: (script, deadlineMs) => {
    // Two sessions may run the same script: the name keeps their files and their ends apart, and decides nothing.
    const run = randomUUID();
    const content = powershellFile(wholePowershellScript(script));
    const path = `.spillway/run-${run}.ps1`;
    const sum = createHash('sha256').update(content).digest('hex').toUpperCase();
    const start = startScript({ path, run, sum, deadlineMs });
    const mark = new RegExp(`^spillway-exit:${run}:(-?\\d{1,10})\\r?$`, 'm');
    return {
      program: 'powershell.exe',
      command: `${COMMAND} ${Buffer.from(start, 'utf16le').toString('base64')}`,
      input: '',
      files: [{ path, content, mode: 0o600 }],
      end: (tail) => {
        const code = mark.exec(tail)?.[1];
        return code === undefined ? null : Number(code);
      },
      clean: (output) => plainText(output.replace(new RegExp(`(?:^|\\n)spillway-exit:${run}:-?\\d*\\n?`), '')),
    };
  },
};

interface Start {
  readonly path: string;
  readonly run: string;
  readonly sum: string;
  readonly deadlineMs: number;
}

/**
 * Runs the uploaded script in a process of its own, if it has arrived whole, and ends that with all it started when its time is over:
 * Windows' sshd passes no signal on, and a session that broke ends nothing. How it ended is told on standard output, because a
 * PowerShell that is sshd's default shell makes 1 of every other code.
 */
function startScript({ path, run, sum, deadlineMs }: Start): string {
  return `$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$code = 70
$file = Join-Path $env:USERPROFILE ${quoteForPowershell(path.replaceAll('/', '\\'))}
try {
  $bytes = [IO.File]::ReadAllBytes($file)
  $sum = [BitConverter]::ToString([Security.Cryptography.SHA256]::Create().ComputeHash($bytes)).Replace('-', '')
  if ($sum -ne ${quoteForPowershell(sum)}) { throw 'the script did not arrive whole' }
  $start = New-Object Diagnostics.ProcessStartInfo
  $start.FileName = Join-Path $PSHOME 'powershell.exe'
  $start.Arguments = '-NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -File "' + $file + '"'
  $start.WorkingDirectory = $env:USERPROFILE
  $start.UseShellExecute = $false
  $child = [Diagnostics.Process]::Start($start)
  if ($child.WaitForExit(${Math.max(1, Math.round(deadlineMs))})) { $code = $child.ExitCode }
  else {
    $null = & (Join-Path $env:SystemRoot 'System32\\taskkill.exe') /T /F /PID $child.Id
    $code = 124
  }
} catch {
  [Console]::Error.WriteLine('spillway: ' + $_.Exception.Message)
} finally {
  Remove-Item -LiteralPath $file -Force -ErrorAction SilentlyContinue
}
[Console]::Out.WriteLine('')
[Console]::Out.WriteLine('spillway-exit:' + ${quoteForPowershell(run)} + ':' + $code)
exit $code
`;
}

/** Of such blocks what they say; progress says nothing. Text around them stays as it is. */
function plainText(output: string): string {
  return output.replaceAll(CLIXML, (block) =>
    [...block.matchAll(CLIXML_TEXT)].map(([, text = '']) => cleanOutput(decodeXml(text))).join(''),
  );
}

function decodeXml(text: string): string {
  return text
    .replaceAll(/_x([0-9A-Fa-f]{4})_/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    .replaceAll(/&(lt|gt|amp|quot|apos);/g, (whole, name: string) => ENTITIES[name] ?? whole);
}
