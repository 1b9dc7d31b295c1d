import assert from 'node:assert/strict';
import { fork, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { withoutGuard } from '../../src/data-plane/hypervisor/freeze-guard.ts';
import { captureFolderFor } from '../../src/data-plane/hypervisor/libvirt/capture-folder.ts';
import { createCaptureMarks } from '../../src/data-plane/hypervisor/libvirt/capture-mark.ts';
import { createLibvirtDriver } from '../../src/data-plane/hypervisor/libvirt/libvirt-driver.ts';
import { createReconnectingLibvirt } from '../../src/data-plane/hypervisor/libvirt/rpc/reconnecting.ts';
import { settingsForChild } from '../../src/main/child-process.ts';
import { loadSettings, type Settings } from '../../src/main/settings.ts';
import { systemClock } from '../../src/shared/clock.ts';
import { silentLogger } from '../../src/shared/logger.ts';
import { waitFor } from '../../src/shared/waiting.ts';
import { createTestGuest, type TestGuest } from '../support/guest/create-test-guest.ts';
import { askAgent, runVirsh, tryVirsh } from '../support/guest/virsh.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const CAPTURING = path.join(ROOT, 'test/support/guard/capturing-process.ts');
const GUARD = path.join(ROOT, 'src/main/guard-process.ts');
const IMAGES = '/var/lib/libvirt/images';
const FOLDER_PREFIX = 'kmd-guard-';
const START_TIMEOUT_MS = 30_000;
const FREE_WITHIN_MS = 1_000;
/** Beside what is measured: only a test that never ends has to be ended. */
const PATIENCE_MS = 20_000;
const LONG_DEADLINE_MS = 60_000;

interface Pause {
  suspended(): Promise<number>;
  resumed(): Promise<number>;
}

interface Capturing {
  readonly child: ChildProcess;
  readonly captureId: string;
}

/** Of test processes that were killed, with the marks of their captures. */
async function removeLeftovers(): Promise<void> {
  const marks = createCaptureMarks(silentLogger);
  for (const name of await readdir(IMAGES)) {
    const owner = new RegExp(`^${FOLDER_PREFIX}(\\d+)-`).exec(name)?.[1];
    if (owner === undefined || existsSync(`/proc/${owner}`)) continue;
    const left = path.join(IMAGES, name);
    for (const mark of await marks.list(path.join(left, 'guard.sock'))) {
      await marks.remove(mark.captureId);
      await rm(captureFolderFor(mark.captureId).path, { recursive: true, force: true });
    }
    await rm(left, { recursive: true, force: true });
  }
}

describe('a guest whose capture dies in the middle (invariant 1)', () => {
  let guest: TestGuest;
  let folder: string;
  let settings: Settings;
  let guard: ChildProcess;
  const children = new Set<ChildProcess>();
  const libvirt = createReconnectingLibvirt({ logger: silentLogger });
  const driver = createLibvirtDriver({
    clock: systemClock,
    logger: silentLogger,
    freezeGuard: withoutGuard,
  });

  const start = async (script: string, args: string[], env = {}): Promise<ChildProcess> => {
    const child = fork(script, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    children.add(child);
    child.once('exit', () => children.delete(child));
    const message = once(child, 'message');
    const ended = once(child, 'exit').then(() => {
      throw new Error(`${path.basename(script)} ended before it said anything`);
    });
    // Raced with below; afterwards its end is expected.
    ended.catch(() => undefined);
    await waitFor(Promise.race([message, ended]), {
      timeoutMs: START_TIMEOUT_MS,
      what: path.basename(script),
    });
    return child;
  };
  const startGuard = async (): Promise<ChildProcess> =>
    await start(GUARD, [], settingsForChild(settings));
  const kill = async (child: ChildProcess): Promise<void> => {
    // A test that failed may have killed it already.
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  const startCapture = async (kind: 'full' | 'disk', deadlineMs: number): Promise<Capturing> => {
    const captureId = randomUUID();
    const scratch = path.join(folder, 'scratch');
    const args = [settings.guardSocketPath, guest.id, captureId, kind, scratch, String(deadlineMs)];
    return { child: await start(CAPTURING, args), captureId };
  };
  let onEvent: (event: string) => void = () => undefined;
  /** When libvirt tells that the guest stands still and goes on, from now on. */
  const watchPause = (): Pause => {
    const suspended = Promise.withResolvers<number>();
    const resumed = Promise.withResolvers<number>();
    onEvent = (event) => {
      if (event === 'suspended') suspended.resolve(performance.now());
      if (event === 'resumed') resumed.resolve(performance.now());
    };
    const limit = { timeoutMs: PATIENCE_MS, what: 'The guest' };
    return {
      suspended: async () => await waitFor(suspended.promise, limit),
      resumed: async () => await waitFor(resumed.promise, limit),
    };
  };
  const assertPutRight = async (capture: Capturing): Promise<void> => {
    await guest.waitForLine(/^tick/, { timeoutMs: PATIENCE_MS, since: guest.nextLine });
    assert.equal(await runVirsh(['domstate', guest.name]), 'running');
    assert.notEqual((await tryVirsh(['backup-dumpxml', guest.name])).exitCode, 0);
    await driver.reconcileCapture({
      vmId: guest.id,
      captureId: capture.captureId,
      wasRunning: true,
    });
  };

  before(async () => {
    guest = await createTestGuest({ name: 'guard', mode: 'counter', agent: true });
    await removeLeftovers();
    folder = await mkdtemp(path.join(IMAGES, `${FOLDER_PREFIX}${process.pid}-`));
    await chmod(folder, 0o711);
    await mkdir(path.join(folder, 'scratch'), { mode: 0o711 });
    const configPath = path.join(folder, 'komadori.json');
    await writeFile(configPath, JSON.stringify({ dataFolder: folder, logLevel: 'error' }));
    settings = await loadSettings({ configPath });
    guard = await startGuard();
    await (
      await libvirt.connection()
    ).subscribe({ kind: 'lifecycle' }, (event) => {
      if (event.kind === 'lifecycle' && event.domain.uuid === guest.id) onEvent(event.event);
    });
    await guest.waitForLine(/^tick/, { timeoutMs: PATIENCE_MS });
  });
  afterEach(async () => {
    for (const child of children) if (child !== guard) await kill(child);
  });
  after(async () => {
    for (const child of children) await kill(child);
    await Promise.all([driver.close(), libvirt.close()]);
    await guest?.destroy();
    if (folder) await rm(folder, { recursive: true, force: true });
  });

  test('runs within a second when the capturing process is killed in the pause', async (context) => {
    const capture = await startCapture('full', LONG_DEADLINE_MS);
    assert.equal(await runVirsh(['domstate', guest.name]), 'paused');
    const pause = watchPause();
    const killedAt = performance.now();
    await kill(capture.child);
    const tookMs = (await pause.resumed()) - killedAt;
    context.diagnostic(`killed in the pause: runs after ${Math.round(tookMs)} ms`);
    assert.ok(tookMs < FREE_WITHIN_MS, `${tookMs} ms`);
    await assertPutRight(capture);
    assert.equal((await runVirsh(['checkpoint-list', guest.name, '--name'])).trim(), '');
  });

  test('runs within a second of its deadline when the capturing process hangs', async (context) => {
    const deadlineMs = 1_500;
    const pause = watchPause();
    const capture = await startCapture('full', deadlineMs);
    capture.child.kill('SIGSTOP');
    const tookMs = (await pause.resumed()) - (await pause.suspended());
    context.diagnostic(
      `hangs, deadline ${deadlineMs} ms: stood still for ${Math.round(tookMs)} ms`,
    );
    assert.ok(tookMs < deadlineMs + FREE_WITHIN_MS, `${tookMs} ms`);
    await kill(capture.child);
    await assertPutRight(capture);
  });

  test('is thawed within a second when the capturing process is killed', async (context) => {
    const capture = await startCapture('disk', LONG_DEADLINE_MS);
    assert.equal(await askAgent(guest.name, 'guest-fsfreeze-status'), 'frozen');
    // The guest tells it: asking its agent would stand in the way of the thaw.
    const since = guest.nextLine;
    const killedAt = performance.now();
    await kill(capture.child);
    await guest.waitForLine(/^tick/, { timeoutMs: PATIENCE_MS, since });
    const tookMs = performance.now() - killedAt;
    context.diagnostic(`killed while frozen: writes again after ${Math.round(tookMs)} ms`);
    assert.ok(tookMs < FREE_WITHIN_MS, `${tookMs} ms`);
    await assertPutRight(capture);
  });

  test('runs again as soon as another guard is there when the guard died first', async (context) => {
    const capture = await startCapture('full', LONG_DEADLINE_MS);
    await kill(guard);
    await kill(capture.child);
    assert.equal(await runVirsh(['domstate', guest.name]), 'paused');
    const pause = watchPause();
    const startedAt = performance.now();
    guard = await startGuard();
    const tookMs = (await pause.resumed()) - startedAt;
    context.diagnostic(
      `guard killed, too: runs ${Math.round(tookMs)} ms after it was started again`,
    );
    await assertPutRight(capture);
  });

  test('is not touched by a capture that cannot reach the guard', async () => {
    await kill(guard);
    try {
      await assert.rejects(startCapture('full', LONG_DEADLINE_MS), /ended before/);
      assert.equal(await runVirsh(['domstate', guest.name]), 'running');
    } finally {
      guard = await startGuard();
    }
  });
});
