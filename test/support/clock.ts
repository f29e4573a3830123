/** The machine's clock and randomness, as the service has them: for tests against real servers. */
export { systemClock as realClock, systemIds as randomIds } from '../../src/wiring/system.ts';
