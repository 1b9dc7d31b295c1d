import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { KIB, MIB } from '../../shared/byte-size.ts';
import { OperationError } from '../../shared/errors.ts';
import { openNbdClient } from './client.ts';
import { startNbdServer } from './server.ts';
import {
  createCertificates,
  createDirectory,
  createMemoryExport,
  createTestFolder,
  runTool,
  serveExports,
} from './testing.ts';

/** Data, a long hole, data, a short hole, an odd end. */
function patchyContent(): Buffer {
  const content = Buffer.alloc(6 * MIB + 513);
  randomBytes(MIB).copy(content, 0);
  randomBytes(64 * KIB).copy(content, 3 * MIB);
  randomBytes(1025).copy(content, 6 * MIB - 512);
  return content;
}

describe('NBD server for other tools', () => {
  it('is listed, described and mapped by nbdinfo', async () => {
    await using folder = await createTestFolder();
    await using served = await serveExports(folder, {
      vda: createMemoryExport(patchyContent()),
      vdb: createMemoryExport(new Uint8Array(MIB)),
    });
    const listed: unknown = JSON.parse(
      await runTool('nbdinfo', '--json', '--list', `nbd+unix://?socket=${folder.file('nbd')}`),
    );
    assert.partialDeepStrictEqual(listed, {
      structured: true,
      exports: [
        {
          'export-name': 'vda',
          'export-size': 6 * MIB + 513,
          is_read_only: true,
          can_multi_conn: true,
        },
        { 'export-name': 'vdb', block_size_preferred: 64 * KIB, block_size_maximum: 32 * MIB },
      ],
    });
    const map: unknown = JSON.parse(await runTool('nbdinfo', '--json', '--map', served.uri('vda')));
    assert.partialDeepStrictEqual(map, [
      { offset: 0, length: MIB, type: 0 },
      { offset: MIB, length: 2 * MIB, type: 3 },
      { offset: 3 * MIB, length: 64 * KIB, type: 0 },
      { offset: 3 * MIB + 64 * KIB, length: 3 * MIB - 68 * KIB, type: 3 },
      { offset: 6 * MIB - 4 * KIB, length: 4 * KIB + 513, type: 0 },
    ]);
    await assert.rejects(runTool('nbdinfo', served.uri('vdz')));
  });

  it('is copied and compared by nbdcopy and qemu-img', async () => {
    await using folder = await createTestFolder();
    const content = patchyContent();
    await using served = await serveExports(folder, { vda: createMemoryExport(content) });
    await writeFile(folder.file('truth.raw'), content);
    await runTool('nbdcopy', served.uri('vda'), folder.file('copy.raw'));
    assert.ok(content.equals(await readFile(folder.file('copy.raw'))));
    await runTool(
      'qemu-img',
      'convert',
      '-f',
      'raw',
      '-O',
      'qcow2',
      served.uri('vda'),
      folder.file('copy.qcow2'),
    );
    await runTool('qemu-img', 'compare', folder.file('copy.qcow2'), folder.file('truth.raw'));
    await runTool(
      'qemu-img',
      'compare',
      '-f',
      'raw',
      '-F',
      'raw',
      served.uri('vda'),
      folder.file('truth.raw'),
    );
    const map: unknown = JSON.parse(
      await runTool('qemu-img', 'map', '-f', 'raw', '--output=json', served.uri('vda')),
    );
    assert.partialDeepStrictEqual(map, [
      { start: 0, length: MIB, zero: false },
      { start: MIB, length: 2 * MIB, zero: true },
    ]);
  });

  it('is written by qemu-io and nbdcopy, unless it is read-only', async () => {
    await using folder = await createTestFolder();
    const content = new Uint8Array(4 * MIB).fill(9);
    await using served = await serveExports(folder, {
      rw: createMemoryExport(content, { readOnly: false }),
      ro: createMemoryExport(new Uint8Array(MIB)),
    });
    await runTool(
      'qemu-io',
      '-f',
      'raw',
      '-c',
      'write -P 5 1k 64k',
      '-c',
      'write -z 1M 1M',
      '-c',
      'write -f -P 6 3M 512',
      '-c',
      'discard 2M 64k',
      '-c',
      'flush',
      served.uri('rw'),
    );
    const expected = new Uint8Array(4 * MIB).fill(9);
    expected
      .fill(5, KIB, 65 * KIB)
      .fill(0, MIB, 2 * MIB)
      .fill(6, 3 * MIB, 3 * MIB + 512);
    expected.fill(0, 2 * MIB, 2 * MIB + 64 * KIB);
    assert.deepEqual(content, expected);
    await writeFile(folder.file('new.raw'), randomBytes(4 * MIB));
    await runTool('nbdcopy', '--flush', folder.file('new.raw'), served.uri('rw'));
    assert.ok((await readFile(folder.file('new.raw'))).equals(content));
    await assert.rejects(runTool('nbdcopy', folder.file('new.raw'), served.uri('ro')));
  });

  it('insists on TLS and on client certificates when told to', async () => {
    await using folder = await createTestFolder();
    await createCertificates(folder);
    const pem = async (name: string) => await readFile(folder.file(`${name}.pem`), 'utf8');
    const server = await startNbdServer({
      listen: { host: '127.0.0.1', port: 0 },
      tls: {
        cert: await pem('server-cert'),
        key: await pem('server-key'),
        clientCa: await pem('ca-cert'),
      },
      exports: createDirectory({ vda: createMemoryExport(patchyContent()) }),
    });
    const { address } = server;
    assert.ok('port' in address);
    const uri = `nbds://127.0.0.1:${address.port}/vda?tls-certificates=${folder.path}`;
    assert.equal((await runTool('nbdinfo', '--size', uri)).trim(), String(6 * MIB + 513));
    await assert.rejects(runTool('nbdinfo', '--size', `nbd://127.0.0.1:${address.port}/vda`));
    const ca = await pem('ca-cert');
    const open = async (cert: string) =>
      await openNbdClient({
        address,
        exportName: 'vda',
        tls: {
          ca,
          serverName: 'nbd.test',
          cert: await pem(`${cert}-cert`),
          key: await pem(`${cert}-key`),
        },
      });
    const client = await open('client');
    const target = Buffer.alloc(6 * MIB + 513);
    await client.readInto(0, target);
    await client.close();
    await assert.rejects(open('stranger'), (error) => error instanceof OperationError);
    await server.close();
  });
});
