import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import * as fc from 'fast-check';
import { OperationError } from '../../../../shared/errors.ts';
import { type ConnectOptions, connectLibvirt } from './connect.ts';
import { getDomainState, listAllDomains } from './domain-calls.ts';
import type { LibvirtEvent } from './events.ts';
import { type FakeBehaviour, hex, startFakeDaemon } from './fake-daemon.ts';
import { getHostname, getLibVersion } from './host-calls.ts';
import { LibvirtError } from './libvirt-error.ts';
import { formatPacket, MESSAGE_STATUS, MESSAGE_TYPE, type Packet } from './packet.ts';
import { PROGRAM, REMOTE } from './procedures.ts';
import { captureScreenshot, uploadVolume } from './stream-calls.ts';

const DOMAIN = { name: 'a', uuid: '00010203-0405-0607-0809-0a0b0c0d0e0f', id: 1 };
const DOMAIN_BYTES = '00000001 61000000 000102030405060708090a0b0c0d0e0f 00000001';
const VERSION_9 = hex('0000000000895440'); // 9,000,000

const hasCode = (code: string) => (error: unknown) =>
  error instanceof OperationError && error.code === code;

async function connectToFake(
  context: TestContext,
  behaviour: FakeBehaviour,
  options: ConnectOptions = {},
) {
  const daemon = await startFakeDaemon(behaviour);
  context.after(() => daemon.close());
  const connection = await connectLibvirt({
    socketPath: daemon.socketPath,
    timeoutMs: 5000,
    ...options,
  });
  context.after(() => connection.drop());
  return connection;
}

test('a call gets the answer that carries its serial, in whatever order answers come', async (t) => {
  const waiting: Packet[] = [];
  const connection = await connectToFake(t, {
    onPacket(packet, peer) {
      waiting.push(packet);
      if (waiting.length < 2) return;
      peer.reply(waiting[1]!, hex('00000001 68000000')); // hostname "h"
      peer.reply(waiting[0]!, VERSION_9);
    },
  });
  const answers = await Promise.all([getLibVersion(connection), getHostname(connection)]);
  assert.deepEqual(answers, [9_000_000, 'h']);
});

test('no more than four calls are on their way at once, so that pings get through', async (t) => {
  const waiting: Packet[] = [];
  let most = 0;
  const connection = await connectToFake(t, {
    onPacket(packet, peer) {
      waiting.push(packet);
      most = Math.max(most, waiting.length);
      setImmediate(() => peer.reply(waiting.shift()!, VERSION_9));
    },
  });
  const calls = Array.from({ length: 50 }, () => getLibVersion(connection));
  assert.equal((await Promise.all(calls)).length, 50);
  assert.equal(most, 4);
});

test('an error answer becomes a LibvirtError with the right code', async (t) => {
  const connection = await connectToFake(t, {
    onPacket: (packet, peer) =>
      peer.reply(
        packet,
        hex(`
          0000002a 0000000a 00000001 00000004 676f6e65 # no_domain, qemu, "gone"
          00000002 00000000                            # level error, no domain
          00000000 00000000 00000000 00000000 00000000 00000000
        `),
        MESSAGE_STATUS.error,
      ),
  });
  await assert.rejects(getDomainState(connection, DOMAIN), (error) => {
    assert.ok(error instanceof LibvirtError);
    assert.equal(error.code, 'not_found');
    assert.equal(error.libvirtName, 'no_domain');
    assert.equal(error.libvirtDomainName, 'qemu');
    assert.match(error.message, /virDomainGetState: gone/);
    return true;
  });
  assert.ok(connection.isOpen());
});

test('an answer of the wrong shape fails its call and no other', async (t) => {
  const connection = await connectToFake(t, {
    onPacket: (packet, peer) =>
      peer.reply(packet, packet.procedure === REMOTE.connectGetLibVersion ? VERSION_9 : hex('ff')),
  });
  await assert.rejects(listAllDomains(connection), hasCode('protocol_error'));
  assert.equal(await getLibVersion(connection), 9_000_000);
});

test('events in between calls reach their listener, those before the reply to registering too', async (t) => {
  const suspended = hex(`00000007 ${DOMAIN_BYTES} 00000003 00000000`); // callback 7, suspended
  const resumed = hex(`00000007 ${DOMAIN_BYTES} 00000004 00000000`);
  const connection = await connectToFake(t, {
    onPacket(packet, peer) {
      if (packet.procedure === REMOTE.eventCallbackRegisterAny) {
        peer.event(PROGRAM.remote, REMOTE.eventLifecycle, suspended);
        peer.reply(packet, hex('00000007'));
        peer.event(PROGRAM.remote, REMOTE.eventLifecycle, resumed);
        return;
      }
      if (packet.procedure === REMOTE.eventCallbackDeregisterAny) {
        peer.event(PROGRAM.remote, REMOTE.eventLifecycle, resumed);
        peer.reply(packet);
        return;
      }
      peer.event(PROGRAM.remote, REMOTE.eventLifecycle, resumed);
      peer.event(PROGRAM.remote, 9999, hex('00000000')); // unknown kinds are skipped
      peer.reply(packet, VERSION_9);
    },
  });
  const events: LibvirtEvent[] = [];
  const subscription = await connection.subscribe({ kind: 'lifecycle' }, (event) => {
    events.push(event);
    throw new Error('listeners may fail');
  });
  await getLibVersion(connection);
  await subscription.close();
  await getLibVersion(connection);
  assert.deepEqual(
    events.map((event) => event.kind === 'lifecycle' && [event.event, event.domain]),
    [
      ['suspended', DOMAIN],
      ['resumed', DOMAIN],
      ['resumed', DOMAIN],
    ],
  );
});

test('a lost connection rejects everything that waits, and later calls', async (t) => {
  let seen = 0;
  const connection = await connectToFake(t, {
    onPacket(_packet, peer) {
      seen += 1;
      if (seen === 4) peer.drop();
    },
  });
  // Four are sent, the others wait in the queue.
  const results = await Promise.allSettled(
    Array.from({ length: 7 }, () => getLibVersion(connection)),
  );
  for (const result of results) {
    assert.ok(result.status === 'rejected' && hasCode('hypervisor_unreachable')(result.reason));
  }
  assert.ok(hasCode('hypervisor_unreachable')(await connection.closed));
  await assert.rejects(getLibVersion(connection), hasCode('hypervisor_unreachable'));
});

test('a daemon that answers no ping is given up', async (t) => {
  const connection = await connectToFake(
    t,
    { onPacket: () => undefined, answersPings: false },
    { keepalive: { intervalMs: 10, maxUnanswered: 2 } },
  );
  await assert.rejects(getLibVersion(connection), hasCode('hypervisor_unreachable'));
  assert.match(String((await connection.closed)?.message), /silent/);
});

test('answered pings keep a silent connection alive, and pings are answered', async (t) => {
  const { promise: ponged, resolve } = Promise.withResolvers<undefined>();
  const connection = await connectToFake(
    t,
    {
      onPacket(packet, peer) {
        if (packet.program !== PROGRAM.keepalive) peer.event(PROGRAM.keepalive, 1, hex(''));
        else if (packet.procedure === 2) resolve(undefined);
      },
    },
    { keepalive: { intervalMs: 10, maxUnanswered: 8 } },
  );
  await assert.rejects(getLibVersion(connection, { timeoutMs: 250 }), hasCode('timed_out'));
  await ponged;
  assert.ok(connection.isOpen());
});

test('a call ends at its time limit or abort; its late answer disturbs nobody', async (t) => {
  const late: (() => void)[] = [];
  const connection = await connectToFake(t, {
    onPacket(packet, peer) {
      if (packet.procedure === REMOTE.connectGetHostname) {
        for (const answer of late) answer();
        peer.reply(packet, hex('00000001 68000000'));
        return;
      }
      late.push(() => peer.reply(packet, VERSION_9));
    },
  });
  await assert.rejects(getLibVersion(connection, { timeoutMs: 20 }), hasCode('timed_out'));
  const abort = new AbortController();
  const aborted = getLibVersion(connection, { signal: abort.signal });
  abort.abort();
  await assert.rejects(aborted, hasCode('cancelled'));
  await assert.rejects(
    getLibVersion(connection, { signal: AbortSignal.abort() }),
    hasCode('cancelled'),
  );
  assert.equal(await getHostname(connection), 'h');
});

test('messages that make no sense end the connection as a protocol error', async (t) => {
  const senseless = {
    'reply to a call never made': '0000001c 20008086 00000001 0000009d 00000001 00000fff 00000000',
    'reply with file descriptors': '0000001c 20008086 00000001 0000009d 00000005 00000001 00000000',
    'stream never opened': '0000001c 20008086 00000001 000000d3 00000003 00000fff 00000002',
    'unknown type': '0000001c 20008086 00000001 0000009d 00000009 00000001 00000000',
    'unknown version': '0000001c 20008086 00000002 0000009d 00000001 00000001 00000000',
    'event of an unknown program': '0000001c 12345678 00000001 00000001 00000002 00000000 00000000',
    'event without content': '0000001c 20008086 00000001 0000013e 00000002 00000000 00000000',
    'length of nothing': '00000000',
    'endless length': 'ffffffff',
  };
  for (const [name, bytes] of Object.entries(senseless)) {
    const connection = await connectToFake(t, {
      onPacket: (_packet, peer) => peer.send(hex(bytes)),
    });
    await assert.rejects(getLibVersion(connection), hasCode('protocol_error'), name);
    assert.ok(!connection.isOpen(), name);
  }
});

test('arbitrary bytes from the socket never hang or crash a call', async (t) => {
  let garbage: Uint8Array = new Uint8Array(0);
  const daemon = await startFakeDaemon({
    onPacket(_packet, peer) {
      peer.send(garbage);
      setImmediate(() => peer.drop());
    },
  });
  t.after(() => daemon.close());
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 80 }),
    // A true length and program first, so that the deeper layers get their share.
    fc.uint8Array({ minLength: 16, maxLength: 60 }).map((tail) => {
      const packet = Buffer.concat([hex('00000000 20008086 00000001'), tail]);
      packet.writeUInt32BE(packet.length, 0);
      return packet;
    }),
  );
  await fc.assert(
    fc.asyncProperty(bytes, async (sent) => {
      garbage = sent;
      const connection = await connectLibvirt({ socketPath: daemon.socketPath, timeoutMs: 5000 });
      const outcome = await getLibVersion(connection).catch((error: unknown) => error);
      connection.drop();
      const isExpected =
        typeof outcome === 'number' ||
        outcome instanceof LibvirtError ||
        hasCode('protocol_error')(outcome) ||
        hasCode('hypervisor_unreachable')(outcome);
      assert.ok(isExpected, String(outcome));
    }),
    { numRuns: 150 },
  );
});

test('polkit is asked where libvirt wants it; SASL is refused with a reason', async (t) => {
  const seen = await connectToFake(t, {
    authTypes: [2],
    onPacket: (packet, peer) => peer.reply(packet, VERSION_9),
  });
  assert.equal(await getLibVersion(seen), 9_000_000);
  await assert.rejects(
    connectToFake(t, { authTypes: [1], onPacket: () => undefined }),
    hasCode('permission_denied'),
  );
});

test('connecting reports what stands in the way, and can be aborted', async () => {
  await assert.rejects(
    connectLibvirt({ socketPath: '/nonexistent/libvirt-sock' }),
    hasCode('hypervisor_unreachable'),
  );
  await assert.rejects(connectLibvirt({ signal: AbortSignal.abort() }), hasCode('cancelled'));
});

const streamBytes = (call: Packet, status: number, payload: string): Uint8Array =>
  formatPacket({ ...call, type: MESSAGE_TYPE.stream, status }, hex(payload));

test('a received stream is complete only when libvirt agreed that it is', async (t) => {
  const received: number[] = [];
  const connection = await connectToFake(t, {
    onPacket(packet, peer) {
      const send = (status: number, payload: string): void => {
        peer.send(streamBytes(packet, status, payload));
      };
      if (packet.type === MESSAGE_TYPE.call) {
        peer.reply(packet, hex('00000001 00000001 78000000')); // MIME type "x"
        send(MESSAGE_STATUS.continue, '0102');
        send(MESSAGE_STATUS.continue, '03');
        send(MESSAGE_STATUS.continue, ''); // end of data
        return;
      }
      received.push(packet.status);
      send(MESSAGE_STATUS.ok, '');
    },
  });
  const shot = await captureScreenshot(connection, DOMAIN);
  assert.deepEqual([shot.mimeType, [...shot.bytes]], ['x', [1, 2, 3]]);
  assert.deepEqual(received, [MESSAGE_STATUS.ok]);
});

test('a stream that libvirt refuses while we send ends with its error', async (t) => {
  const connection = await connectToFake(t, {
    onPacket(packet, peer) {
      if (packet.type === MESSAGE_TYPE.call) {
        peer.reply(packet);
        return;
      }
      if (packet.status !== MESSAGE_STATUS.continue) return;
      const refusal = streamBytes(
        packet,
        MESSAGE_STATUS.error,
        `00000026 00000026 00000001 00000004 66756c6c 00000002 00000000
         00000000 00000000 00000000 00000000 00000000 00000000`,
      );
      peer.send(refusal);
    },
  });
  const source = async function* () {
    yield Buffer.from('x');
    await new Promise(() => undefined);
  };
  await assert.rejects(
    uploadVolume(
      connection,
      { pool: 'p', name: 'v', key: 'k' },
      { offsetBytes: 0, lengthBytes: 0, source: source() },
      { timeoutMs: 5000 },
    ),
    (error) => error instanceof LibvirtError && /full/.test(error.message),
  );
});
