import { accruedFor } from '../../cost/charges.ts';
import { machineHours, reportCosts, type CostGrouping, type CostLine, type CostRow } from '../../cost/report.ts';
import { nanoUsdFromDecimal, nanoUsdToDecimal } from '../../model/money.ts';
import type { EpochMs } from '../../model/time.ts';
import type {
  ChargeFacts,
  ChargeRow,
  CostReportDocument,
  CostRowDocument,
  OpenMachineRow,
} from '../../ports/reports.ts';

export interface CostRange {
  readonly fromMs: EpochMs;
  readonly toMs: EpochMs;
  readonly by: CostGrouping;
}

/** The ledger of a range and what is not in it yet, as a report. Pure. */
export function costDocument(facts: ChargeFacts, { fromMs, toMs, by }: CostRange): CostReportDocument {
  const accrued = facts.open.flatMap((machine) => accruedLines(machine, facts.nowMs));
  const report = reportCosts({ charges: facts.charges.map(toLine), accrued }, { by, fromMs, toMs });
  return {
    from: new Date(fromMs).toISOString(),
    to: new Date(toMs).toISOString(),
    by,
    at: new Date(facts.nowMs).toISOString(),
    items: report.rows.map(toRowDocument),
    total: toRowDocument(report.total),
  };
}

function toLine(row: ChargeRow): CostLine {
  return { ...row, amount: nanoUsdFromDecimal(row.amountUsd) };
}

/** Spot prices of the moment are the ledger's business; until it has them the price at launch stands in. */
function accruedLines(machine: OpenMachineRow, nowMs: EpochMs): CostLine[] {
  const { launchAtMs, priceUsdPerHour, ...facts } = machine;
  return accruedFor({ ...facts, launchAtMs, pricePerHour: nanoUsdFromDecimal(priceUsdPerHour), spotPrices: [] }, nowMs);
}

function toRowDocument(row: CostRow): CostRowDocument {
  return {
    key: row.key,
    machines: row.machines,
    machineHours: Number(machineHours(row).toFixed(6)),
    computeUsd: nanoUsdToDecimal(row.compute),
    volumeUsd: nanoUsdToDecimal(row.volume),
    ipv4Usd: nanoUsdToDecimal(row.ipv4),
    totalUsd: nanoUsdToDecimal(row.total),
    estimatedUsd: nanoUsdToDecimal(row.estimated),
  };
}
