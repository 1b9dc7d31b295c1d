import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import * as fc from 'fast-check';
import { KIB, MIB } from '../../shared/byte-size.ts';
import type { NbdClient } from './client.ts';
import { openNbdPool } from './pool.ts';
import type { TestFolder } from './testing.ts';
import { createMemoryExport, createTestFolder, serveExports } from './testing.ts';

const SIZE = 3 * MIB + 777;

type Step =
  | {
      readonly kind: 'read' | 'zero' | 'trim' | 'map';
      readonly at: number;
      readonly lengthBytes: number;
    }
  | {
      readonly kind: 'write';
      readonly at: number;
      readonly lengthBytes: number;
      readonly fill: number;
    };

/** Offsets and lengths that cluster around block and request boundaries. */
const range = fc
  .tuple(
    fc.oneof(fc.nat(SIZE - 1), fc.constantFrom(0, 4095, 4096, 256 * KIB - 1, 256 * KIB, SIZE - 1)),
    fc.oneof(fc.nat(8 * KIB), fc.constantFrom(1, 4096, 256 * KIB, 256 * KIB + 1, SIZE)),
  )
  .map(([at, lengthBytes]) => ({ at, lengthBytes: Math.min(lengthBytes, SIZE - at) }));

const step: fc.Arbitrary<Step> = fc.oneof(
  fc
    .tuple(range, fc.constantFrom<'read' | 'zero' | 'trim' | 'map'>('read', 'zero', 'trim', 'map'))
    .map(([place, kind]) => ({ ...place, kind })),
  fc.tuple(range, fc.nat(255)).map(([place, fill]) => ({ ...place, kind: 'write' as const, fill })),
);

async function apply(client: NbdClient, truth: Uint8Array, action: Step): Promise<void> {
  const { at, lengthBytes } = action;
  const end = at + lengthBytes;
  switch (action.kind) {
    case 'read': {
      const target = Buffer.alloc(lengthBytes, 0xee);
      await client.readInto(at, target);
      assert.ok(target.equals(truth.subarray(at, end)), `read ${lengthBytes} at ${at}`);
      return;
    }
    case 'write': {
      const data = Buffer.alloc(lengthBytes, action.fill);
      await client.write(at, data, { fua: true });
      truth.set(data, at);
      return;
    }
    case 'zero':
      await client.writeZeroes(at, lengthBytes);
      truth.fill(0, at, end);
      return;
    case 'trim':
      await client.trim(at, lengthBytes);
      truth.fill(0, at, end);
      return;
    case 'map': {
      let position = at;
      for (const extent of await client.blockStatus(at, lengthBytes, 'base:allocation')) {
        assert.equal(extent.offset, position);
        position += extent.lengthBytes;
        if (extent.flags === 0) continue;
        const zeroes = Buffer.alloc(extent.lengthBytes);
        assert.ok(zeroes.equals(truth.subarray(extent.offset, position)), 'a hole reads as zero');
      }
      assert.equal(position, end);
    }
  }
}

describe('NBD client and server together', () => {
  const content = new Uint8Array(SIZE);
  let folder: TestFolder;
  let served: Awaited<ReturnType<typeof serveExports>>;
  before(async () => {
    folder = await createTestFolder();
    served = await serveExports(folder, { vda: createMemoryExport(content, { readOnly: false }) });
  });
  after(async () => {
    await served[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  it('agree with a flat memory on any sequence of requests', async () => {
    const client = await openNbdPool({
      address: served.address,
      exportName: 'vda',
      metaContexts: ['base:allocation'],
      connections: 2,
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const truth = Uint8Array.from(content);
        for (const action of steps) await apply(client, truth, action);
        assert.ok(Buffer.from(truth).equals(content));
      }),
      { numRuns: 60 },
    );
    await client.close();
  });

  it('serve many requests at once, cancelled ones among them', async () => {
    content.forEach((_, index) => {
      content[index] = (index * 7) % 251;
    });
    const client = await openNbdPool({
      address: served.address,
      exportName: 'vda',
      connections: 4,
    });
    const cancel = new AbortController();
    const reads = Array.from({ length: 300 }, async (_, index) => {
      const at = (index * 9973) % (SIZE - 64 * KIB);
      const target = Buffer.alloc(64 * KIB);
      if (index % 3 === 0) {
        await assert.rejects(client.readInto(at, target, cancel.signal), { code: 'cancelled' });
        return;
      }
      await client.readInto(at, target);
      assert.ok(target.equals(content.subarray(at, at + target.length)));
    });
    cancel.abort();
    await Promise.all(reads);
    await client.close();
  });
});
