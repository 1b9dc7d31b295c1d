import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { OperationError } from '../../shared/errors.ts';
import { createMemorySpool, createSpoolOver } from './memory-spool.ts';

const folder = mkdtempSync(join(tmpdir(), 'komadori-spool-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const readAll = async (source: AsyncIterable<Uint8Array>): Promise<Buffer> => {
  const pieces: Uint8Array[] = [];
  for await (const piece of source) pieces.push(piece);
  return Buffer.concat(pieces);
};

const hasCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof OperationError && error.code === code;

describe('memory spool', () => {
  test('gives back everything in order, through memory and file, and leaves no file', async () => {
    const pieces = Array.from({ length: 400 }, (_, index) => randomBytes((index * 37) % 9000));
    for (const memoryLimitBytes of [1, 20_000, 1 << 30]) {
      const spool = await createMemorySpool({ folder, memoryLimitBytes });
      assert.deepEqual(readdirSync(folder), []);
      const reading = readAll(spool.read());
      for (const [index, piece] of pieces.entries()) {
        spool.write(piece);
        // Now and then the event loop turns, so that reads and writes of the file interleave.
        if (index % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      spool.end();
      const expected = Buffer.concat(pieces);
      assert.ok((await reading).equals(expected));
      const { takenBytes, spilledBytes, memoryBytes } = spool.statistics();
      assert.equal(takenBytes, expected.length);
      assert.equal(memoryBytes, 0);
      if (memoryLimitBytes === 1) assert.ok(spilledBytes > 0);
      if (memoryLimitBytes === 1 << 30) assert.equal(spilledBytes, 0);
      await spool.close();
      await spool.close();
    }
  });

  test('its memory stays bounded with nobody reading', async () => {
    const memoryLimitBytes = 1 << 20;
    const spool = await createMemorySpool({ folder, memoryLimitBytes });
    const piece = randomBytes(64 << 10);
    for (let index = 0; index < 400; index += 1) {
      spool.write(piece);
      assert.ok(spool.statistics().memoryBytes <= 2 * memoryLimitBytes + piece.length);
    }
    spool.end();
    const all = await readAll(spool.read());
    assert.equal(all.length, 400 * piece.length);
    for (let at = 0; at < all.length; at += piece.length) {
      assert.ok(all.subarray(at, at + piece.length).equals(piece));
    }
    await spool.close();
  });

  test('a producer failure reaches the reader at once', async () => {
    const spool = await createMemorySpool({ folder });
    spool.write(randomBytes(100));
    const reading = readAll(spool.read());
    spool.fail(new OperationError('hypervisor_failed', 'QEMU gave up.'));
    await assert.rejects(reading, hasCode('hypervisor_failed'));
    await spool.close();
  });

  test('a folder that cannot be written to is told at the start', async () => {
    await assert.rejects(
      createMemorySpool({ folder: join(folder, 'missing') }),
      (error) => error instanceof OperationError && /missing/.test(error.message),
    );
  });

  test('a full disk fails the reader loudly, not the producer', async () => {
    for (const pieceBytes of [1000, 100_000]) {
      const spool = createSpoolOver(await open('/dev/full', 'r+'), { memoryLimitBytes: 1500 });
      const reading = readAll(spool.read());
      const rejection = assert.rejects(reading, hasCode('insufficient_space'));
      for (let index = 0; index < 10; index += 1) spool.write(randomBytes(pieceBytes));
      await rejection;
      spool.write(randomBytes(10));
      await spool.close();
    }
  });

  test('a silent producer and an abort end the wait', async () => {
    const silent = await createMemorySpool({ folder, idleTimeoutMs: 20 });
    await assert.rejects(readAll(silent.read()), hasCode('timed_out'));
    await silent.close();
    const spool = await createMemorySpool({ folder });
    const controller = new AbortController();
    const reading = readAll(spool.read(controller.signal));
    controller.abort();
    await assert.rejects(reading, hasCode('cancelled'));
    await spool.close();
  });
});
