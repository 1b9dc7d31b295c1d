import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmod, lstat, readFile, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { describe, it } from 'node:test';
import { MIB } from '../../shared/byte-size.ts';
import { OperationError } from '../../shared/errors.ts';
import { silentLogger } from '../../shared/logger.ts';
import { openNbdClient } from './client.ts';
import type { NbdExport } from './exports.ts';
import { startNbdServer } from './server.ts';
import {
  createDirectory,
  createMemoryExport,
  createTestFolder,
  runTool,
  serveExports,
} from './testing.ts';

describe('NBD server and its clients', () => {
  it("answers an export's failure and goes on", async () => {
    await using folder = await createTestFolder();
    const memory = createMemoryExport(randomBytes(MIB), { readOnly: false });
    const failing: NbdExport = {
      ...memory,
      async readInto(offset, target) {
        if (offset === 0) throw new OperationError('snapshot_damaged', 'Chunk 0 is lost.');
        if (offset === 4096) throw new Error('secret detail');
        await memory.readInto(offset, target);
      },
      async write() {
        throw new OperationError('insufficient_space', 'The disk is full.');
      },
    };
    await using served = await serveExports(folder, { vda: failing });
    const client = await openNbdClient({ address: served.address, exportName: 'vda' });
    await assert.rejects(client.readInto(0, new Uint8Array(512)), (error) => {
      assert.ok(error instanceof OperationError);
      assert.equal(error.code, 'hypervisor_failed');
      assert.equal(error.details['errno'], 'EIO');
      assert.match(error.message, /Chunk 0 is lost/);
      return true;
    });
    await assert.rejects(client.readInto(4096, new Uint8Array(512)), (error) => {
      assert.ok(error instanceof OperationError);
      assert.doesNotMatch(error.message, /secret/);
      return true;
    });
    await assert.rejects(client.write(0, new Uint8Array(512)), { code: 'insufficient_space' });
    await client.readInto(8192, new Uint8Array(512));
    await client.close();
  });

  it('refuses clients beyond the limit and those that never choose', async () => {
    await using folder = await createTestFolder();
    await using served = await serveExports(
      folder,
      { vda: createMemoryExport(new Uint8Array(512)) },
      { maxClients: 2, handshakeTimeoutMs: 200 },
    );
    const silent = connect({ path: served.address.socketPath });
    await once(silent, 'data');
    const client = await openNbdClient({ address: served.address, exportName: 'vda' });
    await assert.rejects(openNbdClient({ address: served.address, exportName: 'vda' }), {
      code: 'unreachable',
    });
    silent.resume();
    await once(silent, 'close');
    const third = await openNbdClient({ address: served.address, exportName: 'vda' });
    await Promise.all([client.close(), third.close()]);
  });

  it('holds back a client that does not take its replies, then drops it', async () => {
    await using folder = await createTestFolder();
    let running = 0;
    let most = 0;
    const memory = createMemoryExport(randomBytes(MIB));
    const counted: NbdExport = {
      ...memory,
      async readInto(offset, target) {
        running += 1;
        most = Math.max(most, running);
        await memory.readInto(offset, target);
      },
    };
    const dropped = Promise.withResolvers<string>();
    await using _served = await serveExports(
      folder,
      { vda: counted },
      { maxRequestsInFlight: 4, stallTimeoutMs: 300 },
      { ...silentLogger, info: (_fields, message) => dropped.resolve(message) },
    );
    const greedy = connect({ path: folder.file('nbd') });
    await once(greedy, 'readable');
    const go = Buffer.from([
      0,
      0,
      0,
      3, // fixed newstyle, no zeroes
      ...Buffer.from('IHAVEOPT'),
      0,
      0,
      0,
      1,
      0,
      0,
      0,
      3,
      ...Buffer.from('vda'), // EXPORT_NAME
    ]);
    const read = Buffer.from([
      0x25,
      0x60,
      0x95,
      0x13,
      0,
      0,
      0,
      0, // READ
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      1, // cookie
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      16,
      0,
      0, // 1 MiB at 0
    ]);
    greedy.write(Buffer.concat([go, ...Array.from({ length: 1000 }, () => read)]));
    greedy.on('error', () => undefined);
    assert.match(await dropped.promise, /did not take a reply in time/);
    greedy.destroy();
    assert.ok(most <= 4, `${most} replies were prepared`);
  });

  it('survives clients that talk nonsense', async () => {
    await using folder = await createTestFolder();
    await using served = await serveExports(folder, {
      vda: createMemoryExport(new Uint8Array(512)),
    });
    const greeting = [0, 0, 0, 3];
    const ihaveopt = [...Buffer.from('IHAVEOPT')];
    const nonsense = [
      [1, 2, 3, 4], // unknown handshake flags
      [...greeting, ...Buffer.from('GET / HTTP/1.1\r\n')], // wrong magic
      [...greeting, ...ihaveopt, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff], // option of 4 GiB
      [...greeting, ...ihaveopt, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xfe], // name is not UTF-8
      [...greeting, ...ihaveopt, 0, 0, 0, 1, 0, 0, 0, 3, ...Buffer.from('vda'), ...randomBytes(28)],
    ];
    for (const bytes of nonsense) {
      const socket = connect({ path: served.address.socketPath });
      socket.on('error', () => undefined).resume();
      socket.write(Buffer.from(bytes));
      await once(socket, 'close');
    }
    const client = await openNbdClient({ address: served.address, exportName: 'vda' });
    await client.readInto(0, new Uint8Array(512));
    await client.close();
  });

  it('closes after answering what is under way, and cuts off what takes too long', async () => {
    await using folder = await createTestFolder();
    const started = Promise.withResolvers<undefined>();
    const finish = Promise.withResolvers<undefined>();
    let aborted = false;
    const memory = createMemoryExport(randomBytes(8192));
    const slow: NbdExport = {
      ...memory,
      async readInto(offset, target, signal) {
        if (offset === 0) {
          started.resolve(undefined);
          await finish.promise;
        } else if (signal) {
          await once(signal, 'abort');
          aborted = true;
          throw new Error('given up');
        }
        await memory.readInto(offset, target);
      },
    };
    const served = await serveExports(folder, { vda: slow });
    const client = await openNbdClient({ address: served.address, exportName: 'vda' });
    const target = Buffer.alloc(4096);
    const read = client.readInto(0, target);
    await started.promise;
    const closed = served.server.close();
    finish.resolve(undefined);
    await read;
    await closed;
    assert.equal((await client.closed).code, 'unreachable');

    const again = await serveExports(folder, { vda: slow });
    const stuck = await openNbdClient({ address: again.address, exportName: 'vda' });
    const lost = stuck.readInto(4096, target);
    lost.catch(() => undefined);
    await stuck.readInto(0, target);
    await again.server.close(50);
    await assert.rejects(lost, { code: 'unreachable' });
    assert.ok(aborted);
  });
});

describe('NBD server socket', () => {
  it('has the mode it was given and replaces what a killed process left', async () => {
    await using folder = await createTestFolder();
    const socketPath = folder.file('nbd');
    const child = spawn(
      process.execPath,
      [
        '-e',
        `require('net').createServer().listen(${JSON.stringify(socketPath)}, () => console.log('up'))`,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    await once(child.stdout, 'data');
    const exports = createDirectory({ vda: createMemoryExport(new Uint8Array(512)) });
    await assert.rejects(startNbdServer({ listen: { socketPath }, exports }), { code: 'in_use' });
    child.kill('SIGKILL');
    await once(child, 'exit');
    const { uid, gid } = await stat(folder.path);
    const server = await startNbdServer({
      listen: { socketPath, mode: 0o660, owner: { uid, gid } },
      exports,
    });
    assert.equal((await lstat(socketPath)).mode & 0o777, 0o660);
    await assert.rejects(startNbdServer({ listen: { socketPath }, exports }), { code: 'in_use' });
    assert.equal(
      (await runTool('nbdinfo', '--size', `nbd+unix:///vda?socket=${socketPath}`)).trim(),
      '512',
    );
    await server.close();
    await assert.rejects(lstat(socketPath), { code: 'ENOENT' });

    await writeFile(socketPath, 'precious');
    await chmod(socketPath, 0o600);
    await assert.rejects(startNbdServer({ listen: { socketPath }, exports }), { code: 'in_use' });
    assert.equal(await readFile(socketPath, 'utf8'), 'precious');
  });
});
