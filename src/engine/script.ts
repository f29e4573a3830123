/**
 * An argv as a shell script that runs exactly that argv. Single quotes hold every byte but the single quote itself,
 * which is closed, escaped and opened again; `exec` leaves one process to signal and wait for.
 */
export function renderTaskScript(command: readonly string[]): string {
  return `exec ${command.map((word) => `'${word.replaceAll("'", String.raw`'\''`)}'`).join(' ')}\n`;
}
