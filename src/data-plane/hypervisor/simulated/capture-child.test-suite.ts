import { systemClock } from '../../../shared/clock.ts';
import { createSimulatedDriver } from './simulated-driver.ts';

/** Begins one capture on a simulated host that a test made, to be killed in the middle of it. */
const driver = createSimulatedDriver({
  folder: process.env['HOST_FOLDER'] ?? '',
  clock: systemClock,
  seed: 1,
});
const memorySink = { write: () => undefined, end: () => undefined, fail: () => undefined };
await driver.beginCapture({ ...JSON.parse(process.env['CAPTURE_REQUEST'] ?? '{}'), memorySink });
