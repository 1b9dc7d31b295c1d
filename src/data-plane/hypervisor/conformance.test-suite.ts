import { after, afterEach, before, describe } from 'node:test';
import { closeSources, type ConformanceHarness } from './conformance-harness.test-suite.ts';
import { testCaptures } from './conformance-capture.test-suite.ts';
import { testInventory } from './conformance-inventory.test-suite.ts';
import { testMemory } from './conformance-memory.test-suite.ts';
import { testRestores } from './conformance-restore.test-suite.ts';

export type { ConformanceHarness } from './conformance-harness.test-suite.ts';

/** What every hypervisor driver must do. */
export function describeHypervisorConformance(
  name: string,
  createHarness: () => Promise<ConformanceHarness>,
): void {
  describe(name, () => {
    let harness: ConformanceHarness | undefined;
    before(async () => {
      harness = await createHarness();
    });
    afterEach(async () => {
      await closeSources();
      await harness?.removeVms();
    });
    after(async () => await harness?.destroy());
    const get = (): ConformanceHarness => {
      if (!harness) throw new Error('the harness could not be made');
      return harness;
    };
    testInventory(get);
    testCaptures(get);
    testMemory(get);
    testRestores(get);
  });
}
