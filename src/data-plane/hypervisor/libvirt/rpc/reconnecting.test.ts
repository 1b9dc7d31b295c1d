import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OperationError } from '../../../../shared/errors.ts';
import { connectLibvirt } from './connect.ts';
import { hex, startFakeDaemon } from './fake-daemon.ts';
import { getLibVersion } from './host-calls.ts';
import { MESSAGE_STATUS } from './packet.ts';
import { PROGRAM, REMOTE } from './procedures.ts';
import { createReconnectingLibvirt, planDelayMs } from './reconnecting.ts';

const VERSION_9 = hex('0000000000895440');
const SUSPENDED = hex(`
  00000001                     # callback 1
  00000001 61000000            # domain "a"
  000102030405060708090a0b0c0d0e0f 00000001
  00000003 00000000            # suspended, detail 0
`);
const REFUSAL = hex(`
  00000003 0000000c 00000000 00000002 00000000 # no_support, test driver
  00000000 00000000 00000000 00000000 00000000 00000000
`);
const FAST = { firstMs: 2, longestMs: 10 };

const hasCode = (code: string) => (error: unknown) =>
  error instanceof OperationError && error.code === code;

/** Collects what a watch tells, and lets a test wait for the n-th thing. */
function createRecord() {
  const kinds: string[] = [];
  const waiting: { count: number; resolve: () => void }[] = [];
  return {
    kinds,
    add(kind: string): void {
      kinds.push(kind);
      for (const waiter of waiting) if (kinds.length >= waiter.count) waiter.resolve();
    },
    reached: (count: number) =>
      new Promise<void>((resolve) => {
        if (kinds.length >= count) resolve();
        else waiting.push({ count, resolve });
      }),
  };
}

test('a lost connection comes back, with its events and a resync before them', async (t) => {
  let drop = (): void => undefined;
  const daemon = await startFakeDaemon({
    onPacket(packet, peer) {
      drop = () => peer.drop();
      if (packet.procedure === REMOTE.eventCallbackRegisterAny) {
        peer.reply(packet, hex('00000001'));
        peer.event(PROGRAM.remote, REMOTE.eventLifecycle, SUSPENDED);
        return;
      }
      peer.reply(packet, VERSION_9);
      peer.event(PROGRAM.remote, REMOTE.eventLifecycle, SUSPENDED);
    },
  });
  t.after(() => daemon.close());
  const libvirt = createReconnectingLibvirt({ socketPath: daemon.socketPath, backoff: FAST });
  t.after(() => libvirt.close());
  const record = createRecord();
  libvirt.watch([{ kind: 'lifecycle' }], (event) => record.add(event.kind));

  assert.equal(await getLibVersion(libvirt), 9_000_000);
  await record.reached(2);
  drop();
  await record.reached(3);
  assert.equal(await getLibVersion(libvirt), 9_000_000);
  await record.reached(4);
  assert.deepEqual(record.kinds, ['resync', 'lifecycle', 'resync', 'lifecycle']);
  assert.equal(daemon.connections(), 2);
});

test('a watch that begins later is resynced, and one that closed hears nothing', async (t) => {
  const daemon = await startFakeDaemon({
    onPacket(packet, peer) {
      peer.reply(
        packet,
        packet.procedure === REMOTE.connectGetLibVersion ? VERSION_9 : hex('00000001'),
      );
      if (packet.procedure === REMOTE.connectGetLibVersion) {
        peer.event(PROGRAM.remote, REMOTE.eventLifecycle, SUSPENDED);
      }
    },
  });
  t.after(() => daemon.close());
  const libvirt = createReconnectingLibvirt({ socketPath: daemon.socketPath, backoff: FAST });
  t.after(() => libvirt.close());
  await libvirt.connection();
  const record = createRecord();
  const watch = libvirt.watch([{ kind: 'lifecycle' }], (event) => record.add(event.kind));
  await record.reached(1);
  // The daemon here answers deregistration with a body that does not belong there.
  await watch.close();
  await getLibVersion(libvirt);
  assert.deepEqual(record.kinds, ['resync']);
});

test('events that libvirt refuses are named, and the rest is watched', async (t) => {
  const daemon = await startFakeDaemon({
    onPacket(packet, peer) {
      if (packet.program === PROGRAM.qemu) peer.reply(packet, REFUSAL, MESSAGE_STATUS.error);
      else peer.reply(packet, hex('00000001'));
    },
  });
  t.after(() => daemon.close());
  const libvirt = createReconnectingLibvirt({ socketPath: daemon.socketPath, backoff: FAST });
  t.after(() => libvirt.close());
  const record = createRecord();
  libvirt.watch([{ kind: 'monitor' }, { kind: 'lifecycle' }], (event) => record.add(event.kind));
  await record.reached(2);
  assert.deepEqual(record.kinds, ['not_watching', 'resync']);
});

test('while libvirt is away calls fail at once or with the attempt under way, never hang', async (t) => {
  let attempts = 0;
  const libvirt = createReconnectingLibvirt({
    socketPath: '/nonexistent/libvirt-sock',
    backoff: { firstMs: 60_000, longestMs: 60_000 },
    connect(options) {
      attempts += 1;
      return connectLibvirt(options);
    },
  });
  t.after(() => libvirt.close());
  await assert.rejects(getLibVersion(libvirt), hasCode('hypervisor_unreachable'));
  await assert.rejects(getLibVersion(libvirt), hasCode('hypervisor_unreachable'));
  assert.equal(attempts, 1);
  assert.equal(libvirt.isConnected(), false);
  // Must not sit out the minute of back-off.
  await libvirt.close();
});

test('delays double up to their limit and stay within half of it', () => {
  const backoff = { firstMs: 100, longestMs: 1000 };
  assert.deepEqual(
    [1, 2, 3, 4, 5, 500].map((failures) => planDelayMs(backoff, failures, 1)),
    [100, 200, 400, 800, 1000, 1000],
  );
  assert.equal(planDelayMs(backoff, 5, 0), 500);
});
