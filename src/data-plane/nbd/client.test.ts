import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { MIB } from '../../shared/byte-size.ts';
import { describeNbdExport, listNbdExports, openNbdClient } from './client.ts';
import { openNbdPool } from './pool.ts';
import {
  createCertificates,
  createTestFolder,
  findFreePort,
  runTool,
  startQemuNbd,
} from './testing.ts';

const ALLOCATION = 'base:allocation';

describe('NBD client against qemu-nbd', () => {
  it('reads a raw image over a UNIX socket into shared memory', async () => {
    await using folder = await createTestFolder();
    const content = randomBytes(5 * MIB + 512);
    await writeFile(folder.file('disk.raw'), content);
    const socketPath = folder.file('nbd');
    await using _server = await startQemuNbd(
      folder,
      '-r',
      '-f',
      'raw',
      '-x',
      'disk',
      '-k',
      socketPath,
      folder.file('disk.raw'),
    );
    const client = await openNbdClient({ address: { socketPath }, exportName: 'disk' });
    assert.equal(client.info.sizeBytes, content.length);
    assert.equal(client.info.readOnly, true);
    assert.equal(client.info.structuredReplies, true);
    const target = new Uint8Array(new SharedArrayBuffer(content.length));
    await client.readInto(0, target);
    assert.ok(content.equals(target));
    await assert.rejects(client.write(0, new Uint8Array(512)), { code: 'permission_denied' });
    await assert.rejects(client.readInto(content.length, new Uint8Array(1)), {
      code: 'invalid_input',
    });
    await client.close();
    await assert.rejects(client.readInto(0, new Uint8Array(1)), { code: 'unreachable' });
  });

  it('maps allocation and a dirty bitmap of a qcow2 image', async () => {
    await using folder = await createTestFolder();
    const image = folder.file('disk.qcow2');
    await runTool('qemu-img', 'create', '-q', '-f', 'qcow2', image, '64M');
    await runTool('qemu-io', '-f', 'qcow2', '-c', 'write -P 1 0 1M', image);
    await runTool('qemu-img', 'bitmap', '--add', image, 'since');
    await runTool('qemu-io', '-f', 'qcow2', '-c', 'write -P 7 8M 128k', image);
    const socketPath = folder.file('nbd');
    await using _server = await startQemuNbd(
      folder,
      '-r',
      '-f',
      'qcow2',
      '-B',
      'since',
      '-k',
      socketPath,
      image,
    );
    const bitmap = 'qemu:dirty-bitmap:since';
    const address = { socketPath };
    const described = await describeNbdExport({ address, exportName: '' });
    assert.deepEqual(described.metaContexts.toSorted(), [ALLOCATION, bitmap].toSorted());
    const client = await openNbdClient({
      address,
      exportName: '',
      metaContexts: [ALLOCATION, bitmap, 'nobody:knows'],
    });
    assert.deepEqual(client.metaContexts.toSorted(), [ALLOCATION, bitmap].toSorted());
    assert.deepEqual(await client.blockStatus(0, 64 * MIB, bitmap), [
      { offset: 0, lengthBytes: 8 * MIB, flags: 0 },
      { offset: 8 * MIB, lengthBytes: 128 * 1024, flags: 1 },
      { offset: 8 * MIB + 128 * 1024, lengthBytes: 56 * MIB - 128 * 1024, flags: 0 },
    ]);
    const data = (await client.blockStatus(0, 64 * MIB, ALLOCATION)).filter(
      (extent) => (extent.flags & 2) === 0,
    );
    assert.deepEqual(data, [
      { offset: 0, lengthBytes: MIB, flags: 0 },
      { offset: 8 * MIB, lengthBytes: 128 * 1024, flags: 0 },
    ]);
    await assert.rejects(client.blockStatus(0, MIB, 'nobody:knows'), { code: 'not_found' });
    const target = Buffer.alloc(4 * MIB, 0xee);
    await client.readInto(6 * MIB, target);
    const expected = Buffer.alloc(4 * MIB);
    expected.fill(7, 2 * MIB, 2 * MIB + 128 * 1024);
    assert.ok(expected.equals(target), 'holes are filled with zeroes');
    await client.close();
  });

  it('writes, zeroes, trims and flushes over TCP', async () => {
    await using folder = await createTestFolder();
    const image = folder.file('disk.raw');
    await writeFile(image, '');
    await truncate(image, 8 * MIB);
    const port = await findFreePort();
    await using _server = await startQemuNbd(
      folder,
      '-f',
      'raw',
      '-b',
      '127.0.0.1',
      '-p',
      String(port),
      '--discard=unmap',
      image,
    );
    const client = await openNbdClient({ address: { host: '127.0.0.1', port }, exportName: '' });
    const expected = randomBytes(8 * MIB);
    await client.write(0, expected, { fua: true });
    await client.writeZeroes(MIB, MIB, { noHole: true });
    await client.trim(4 * MIB, MIB);
    expected.fill(0, MIB, 2 * MIB).fill(0, 4 * MIB, 5 * MIB);
    await client.flush();
    const target = Buffer.alloc(expected.length);
    await client.readInto(0, target);
    assert.ok(expected.equals(target));
    await client.close();
    assert.ok(expected.equals(await readFile(image)));
  });

  it('lists exports and tells an unknown one', async () => {
    await using folder = await createTestFolder();
    await writeFile(folder.file('disk.raw'), new Uint8Array(512));
    const socketPath = folder.file('nbd');
    await using _server = await startQemuNbd(
      folder,
      '-r',
      '-f',
      'raw',
      '-x',
      'vda',
      '-D',
      'the system disk',
      '-k',
      socketPath,
      folder.file('disk.raw'),
    );
    const address = { socketPath };
    assert.deepEqual(await listNbdExports({ address }), [
      { name: 'vda', description: 'the system disk' },
    ]);
    await assert.rejects(openNbdClient({ address, exportName: 'vdb' }), { code: 'not_found' });
    await assert.rejects(
      openNbdClient({ address: { socketPath: folder.file('nobody') }, exportName: '' }),
      { code: 'unreachable' },
    );
  });

  it('spreads reads over several connections', async () => {
    await using folder = await createTestFolder();
    const content = randomBytes(16 * MIB);
    await writeFile(folder.file('disk.raw'), content);
    const socketPath = folder.file('nbd');
    await using _server = await startQemuNbd(
      folder,
      '-r',
      '-f',
      'raw',
      '-e',
      '4',
      '-k',
      socketPath,
      folder.file('disk.raw'),
    );
    const pool = await openNbdPool({
      address: { socketPath },
      exportName: '',
      connections: 4,
      metaContexts: [ALLOCATION],
    });
    const digest = createHash('sha256');
    const blocks = Array.from({ length: 16 }, () => new Uint8Array(MIB));
    await Promise.all(blocks.map((block, index) => pool.readInto(index * MIB, block)));
    for (const block of blocks) digest.update(block);
    assert.equal(digest.digest('hex'), createHash('sha256').update(content).digest('hex'));
    assert.equal((await Array.fromAsync(pool.extents(ALLOCATION))).length, 1);
    await pool.close();
    assert.equal((await pool.closed).code, 'unreachable');
  });

  it('fails what is under way when the server dies', async () => {
    await using folder = await createTestFolder();
    await writeFile(folder.file('disk.raw'), randomBytes(16 * MIB));
    const socketPath = folder.file('nbd');
    await using server = await startQemuNbd(
      folder,
      '-r',
      '-f',
      'raw',
      '-k',
      socketPath,
      folder.file('disk.raw'),
    );
    const client = await openNbdClient({ address: { socketPath }, exportName: '' });
    server.process.kill('SIGSTOP');
    const reads = Promise.allSettled(
      Array.from({ length: 40 }, (_, index) => client.readInto(index * 1024, new Uint8Array(1024))),
    );
    server.process.kill('SIGKILL');
    for (const outcome of await reads) {
      assert.equal(outcome.status, 'rejected');
      assert.equal(outcome.reason.code, 'unreachable');
    }
  });
});

describe('NBD client over TLS', () => {
  it('takes only a server that the CA vouches for by the right name', async () => {
    await using folder = await createTestFolder();
    await createCertificates(folder);
    const [ca, otherCa, cert, key, strangerCert, strangerKey] = await Promise.all(
      [
        'ca-cert',
        'other-ca-cert',
        'client-cert',
        'client-key',
        'stranger-cert',
        'stranger-key',
      ].map((name) => readFile(folder.file(`${name}.pem`), 'utf8')),
    );
    assert.ok(ca && otherCa && cert && key && strangerCert && strangerKey);
    const content = randomBytes(3 * MIB);
    await writeFile(folder.file('disk.raw'), content);
    const port = await findFreePort();
    await using _server = await startQemuNbd(
      folder,
      '-r',
      '-f',
      'raw',
      '-b',
      '127.0.0.1',
      '-p',
      String(port),
      '--object',
      `tls-creds-x509,id=tls,endpoint=server,verify-peer=on,dir=${folder.path}`,
      '--tls-creds',
      'tls',
      folder.file('disk.raw'),
    );
    const open = (tls: Parameters<typeof openNbdClient>[0]['tls']) =>
      openNbdClient({ address: { host: '127.0.0.1', port }, exportName: '', tls });

    for (const serverName of ['nbd.test', '127.0.0.1']) {
      const client = await open({ ca, cert, key, serverName });
      const target = Buffer.alloc(content.length);
      await client.readInto(0, target);
      assert.ok(content.equals(target));
      await client.close();
    }
    const refused = { code: 'permission_denied' };
    await assert.rejects(open(undefined), refused, 'the server insists on TLS');
    await assert.rejects(open({ ca, cert, key, serverName: 'other.test' }), refused);
    await assert.rejects(open({ ca: otherCa, cert, key, serverName: 'nbd.test' }), refused);
    await assert.rejects(
      open({ ca, cert: strangerCert, key: strangerKey, serverName: 'nbd.test' }),
      (error: { code?: unknown }) =>
        error.code === 'permission_denied' || error.code === 'unreachable',
    );
  });
});
