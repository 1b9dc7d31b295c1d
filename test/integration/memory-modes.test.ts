import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdir, rename } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { CaptureSession } from '../../src/data-plane/hypervisor/driver.ts';
import { withoutGuard } from '../../src/data-plane/hypervisor/freeze-guard.ts';
import { createLibvirtDriver } from '../../src/data-plane/hypervisor/libvirt/libvirt-driver.ts';
import { systemClock } from '../../src/shared/clock.ts';
import type { MemoryMode } from '../../src/shared/inventory.ts';
import { silentLogger } from '../../src/shared/logger.ts';
import { createTestGuest, type TestGuest } from '../support/guest/create-test-guest.ts';
import { readPowerState } from '../support/service/operations.ts';

const LINE_TIMEOUT_MS = 180_000;
const ROUND = /^round (\d+) ok$/;
const DISKS = [
  { target: 'vda', format: 'qcow2' },
  { target: 'vdb', format: 'raw' },
] as const;

const driver = createLibvirtDriver({
  clock: systemClock,
  logger: silentLogger,
  freezeGuard: withoutGuard,
});
let guest: TestGuest;
let scratchFolder: string;

before(async () => {
  guest = await createTestGuest({
    name: 'modes',
    mode: 'pattern',
    memoryMiB: 160,
    disks: DISKS.map((disk) => ({ ...disk, sizeMiB: 16 })),
  });
  scratchFolder = path.join(guest.folder, 'scratch');
  await mkdir(scratchFolder, { mode: 0o711 });
});
after(async () => {
  await guest?.destroy();
  await driver.close();
});

async function nextRound(since = guest.nextLine): Promise<number> {
  const line = await guest.waitForLine(ROUND, { timeoutMs: LINE_TIMEOUT_MS, since });
  return Number(ROUND.exec(line.text)?.[1]);
}

interface Taken {
  readonly session: CaptureSession;
  readonly memory: readonly Uint8Array[];
}

const copyOf = (target: string): string => path.join(guest.folder, `copy-of-${target}`);

/** Captures into memory and plain image files: nothing but the driver is in between. */
async function capture(memoryMode: MemoryMode): Promise<Taken> {
  const memory: Uint8Array[] = [];
  const session = await driver.beginCapture({
    vmId: guest.id,
    captureId: randomUUID(),
    kind: 'full',
    disks: DISKS.map(({ target }) => target),
    quiesce: 'never',
    memoryMode,
    memorySink: {
      write: (bytes) => void memory.push(Uint8Array.from(bytes)),
      end: () => undefined,
      fail: () => undefined,
    },
    scratchFolder,
    parentCheckpoint: null,
    freezeDeadlineMs: 60_000,
  });
  try {
    for (const { target, format } of DISKS) {
      const nbd = session.disks.find((disk) => disk.target === target)?.nbd;
      assert.ok(nbd);
      await driver.writeImageFile({ source: nbd, path: copyOf(target), format });
    }
    await session.memoryDone;
  } finally {
    await session.end({ keepCheckpoint: false });
  }
  return { session, memory };
}

async function putBack({ session, memory }: Taken): Promise<void> {
  const { memoryXml } = session.configuration;
  assert.ok(memoryXml !== null);
  await driver.stopVm(guest.id);
  for (const { target } of DISKS) await rename(copyOf(target), guest.diskPath(target));
  await driver.resumeFromMemory(
    { vmId: guest.id, memoryXml, paused: false, linksDown: false },
    async (write) => {
      for (const bytes of memory) await write(bytes);
    },
  );
}

describe('memory on hosts that cannot do background snapshots', () => {
  for (const mode of ['pre-copy', 'stop-and-copy'] as const) {
    test(`invariant 4, ${mode}: memory and disks are of one instant`, async (t) => {
      const from = await nextRound();
      const taken = await capture(mode);
      const { session } = taken;
      const to = await nextRound();
      assert.equal(session.memoryMode, mode);
      assert.equal(session.level, 'memory');
      assert.ok(session.pauseMs > 0, 'the pause was not measured');
      t.diagnostic(`paused for ${session.pauseMs} ms: ${JSON.stringify(session.pausePhases)}`);
      assert.equal(await readPowerState(guest.name), 'running');

      await nextRound(guest.nextLine + 3);
      await putBack(taken);
      const rolledBackAt = guest.nextLine;
      const first = await nextRound(rolledBackAt);
      await nextRound(guest.nextLine + 4);
      assert.ok(first >= from && first <= to + 1, `went on at ${first}, not from ${from} to ${to}`);
      const violations = guest.serialLines().filter(({ text }) => text.startsWith('VIOLATION'));
      assert.deepEqual(violations, []);
    });
  }
});
