import { chargedThrough, chargesFor, type BilledMachine } from '../cost/charges.ts';
import { nanoUsdFromDecimal, nanoUsdFromNumber } from '../model/money.ts';
import { HOUR_MS } from '../model/time.ts';
import type { Chargeable, LedgerStore } from '../ports/ledger.ts';
import type { LoopPorts } from './ports.ts';

/** A living machine is charged this often; what is younger is shown as an estimate. */
const SETTLE_EVERY_MS = HOUR_MS;
/** Machines per turn; the next turn takes the rest. */
const SETTLE_MAX = 500;

/** Writes what machines cost into the ledger: ended ones to their end, living ones about once an hour. */
export async function accountTick(ports: Pick<LoopPorts, 'ledger' | 'log'>): Promise<number> {
  const { ledger } = ports;
  const nowMs = await ledger.databaseNowMs();
  const due = await ledger.listChargeable(nowMs - SETTLE_EVERY_MS, SETTLE_MAX);
  let charged = 0;
  for (const machine of due) {
    const billed = await toBilled(ledger, machine);
    // Alive is only what a look saw alive: nothing is charged beyond it.
    const charges = chargesFor(billed, machine.observedAtMs ?? machine.chargedThroughMs ?? 0);
    const throughMs = chargedThrough(charges);
    if (throughMs === null) continue;
    const span = { from: machine.chargedThroughMs, to: throughMs };
    if (await ledger.append(machine.machineId, span, charges)) charged += charges.length;
    else ports.log.debug({ machineId: machine.machineId }, 'another process charged this machine');
  }
  return charged;
}

async function toBilled(ledger: LedgerStore, machine: Chargeable): Promise<BilledMachine> {
  const { launchTimeMs, priceUsdPerHour, ...facts } = machine;
  const prices =
    machine.market === 'spot'
      ? await ledger.readSpotPrices(machine.instanceType, machine.zone, launchTimeMs ?? machine.pendingSeenAtMs ?? 0)
      : [];
  return {
    ...facts,
    pricePerHour: nanoUsdFromDecimal(priceUsdPerHour),
    spotPrices: prices.map(({ atMs, priceUsdPerHour: usd }) => ({ atMs, pricePerHour: nanoUsdFromNumber(usd) })),
    launchAtMs: launchTimeMs,
  };
}
