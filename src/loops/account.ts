import { chargedThrough, chargesFor, type BilledMachine } from '../cost/charges.ts';
import { nanoUsdFromDecimal, nanoUsdFromNumber } from '../model/money.ts';
import { AppError } from '../model/errors.ts';
import { HOUR_MS } from '../model/time.ts';
import type { Chargeable, LedgerStore } from '../ports/ledger.ts';
import type { LoopPorts } from './ports.ts';

/** A living machine is charged this often; what is younger is shown as an estimate. */
const SETTLE_EVERY_MS = HOUR_MS;
/** Machines per turn; the next turn takes the rest. */
const SETTLE_MAX = 500;

type AccountPorts = Pick<LoopPorts, 'ledger' | 'log' | 'cloud'>;

/** Writes what machines cost into the ledger: ended ones to their end, living ones about once an hour. */
export async function accountTick(ports: AccountPorts): Promise<number> {
  const { ledger } = ports;
  const nowMs = await ledger.databaseNowMs();
  const due = await ledger.listChargeable(nowMs - SETTLE_EVERY_MS, SETTLE_MAX);
  const priced = await refreshSpotPrices(ports, due);
  let charged = 0;
  for (const machine of due) {
    if (machine.market === 'spot' && !priced.has(regionOfZone(machine.zone))) continue;
    const billed = await toBilled(ledger, machine);
    // Alive is only what a look saw alive: nothing is charged beyond it.
    const charges = chargesFor(billed, machine.observedAtMs ?? machine.chargedThroughMs ?? 0);
    // One that ended and owes nothing is settled too, or it would be looked at for ever.
    const throughMs = chargedThrough(charges) ?? machine.endedAtMs;
    if (throughMs === null) continue;
    const span = { from: machine.chargedThroughMs, to: throughMs };
    if (await ledger.append(machine.machineId, span, charges)) charged += charges.length;
    else ports.log.debug({ machineId: machine.machineId }, 'another process charged this machine');
  }
  return charged;
}

/**
 * Asks for the prices that the machines to be charged paid, because what is charged stays charged: a price that changed since
 * the last regular look would be missed for good. Returns the regions that answered; in the others spot machines wait.
 */
async function refreshSpotPrices(ports: AccountPorts, due: readonly Chargeable[]): Promise<ReadonlySet<string>> {
  const byRegion = Map.groupBy(
    due.filter(({ market }) => market === 'spot'),
    ({ zone }) => regionOfZone(zone),
  );
  const priced = new Set<string>();
  for (const [region, machines] of byRegion) {
    const types = [...new Set(machines.map(({ instanceType }) => instanceType))].sort();
    const sinceMs = Math.min(...machines.map((m) => m.chargedThroughMs ?? m.launchTimeMs ?? m.pendingSeenAtMs ?? 0));
    try {
      await ports.ledger.recordSpotPrices(await ports.cloud.listSpotPrices(region, types, sinceMs));
      priced.add(region);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      ports.log.warn(
        { region, code: error.code, error: error.message },
        'spot prices are not known; spot machines are charged later',
      );
    }
  }
  return priced;
}

/** `us-east-1a` -> `us-east-1`; local zones (`us-west-2-lax-1a`) begin with the name of their region, too. */
function regionOfZone(zone: string): string {
  return /^(?:[a-z]+-)+?\d+/.exec(zone)?.[0] ?? zone;
}

async function toBilled(ledger: LedgerStore, machine: Chargeable): Promise<BilledMachine> {
  const { launchTimeMs, runLaunchTimeMs, priceUsdPerHour, ...facts } = machine;
  const prices =
    machine.market === 'spot'
      ? await ledger.readSpotPrices(machine.instanceType, machine.zone, launchTimeMs ?? machine.pendingSeenAtMs ?? 0)
      : [];
  return {
    ...facts,
    pricePerHour: nanoUsdFromDecimal(priceUsdPerHour),
    spotPrices: prices.map(({ atMs, priceUsdPerHour: usd }) => ({ atMs, pricePerHour: nanoUsdFromNumber(usd) })),
    launchAtMs: launchTimeMs,
    runLaunchAtMs: runLaunchTimeMs,
  };
}
