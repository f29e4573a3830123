import type { Decision, ScalerView } from '../../src/backtest/scaler.ts';

/** Ends every node that has been idle for `holdS`, and says when the next one will have been. */
export function endIdle(view: ScalerView, holdS: number): Pick<Decision, 'terminate'> & { quietUntilS: number } {
  const terminate: number[] = [];
  let quietUntilS = Infinity;
  for (const { id, idleSinceS } of view.idleNodes()) {
    const dueS = (idleSinceS ?? Infinity) + holdS;
    if (dueS <= view.nowS) terminate.push(id);
    else quietUntilS = Math.min(quietUntilS, dueS);
  }
  return { terminate, quietUntilS };
}
