import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, describe, test } from 'node:test';
import { waitFor } from '../../shared/waiting.ts';
import { createMemorySpool } from './memory-spool.ts';
import { collectStream, synthesisInput } from './stream-collector.ts';
import { synthesizeStream } from './stream-synthesis.ts';

const EMULATOR = '/usr/bin/qemu-system-x86_64';
const TIMEOUT_MS = 30_000;
const folder = mkdtempSync(join(tmpdir(), 'komadori-qemu-'));
const children: ChildProcess[] = [];
after(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

const within = async <T>(promise: Promise<T>, what: string): Promise<T> =>
  await waitFor(promise, { timeoutMs: TIMEOUT_MS, what });

interface Message {
  event?: string;
  data?: unknown;
  QMP?: unknown;
  return?: unknown;
  error?: { desc: string };
}

/** Just enough QMP: one command at a time, events by name. */
interface Machine {
  command(execute: string, args?: object): Promise<unknown>;
  event(name: string, matches?: (data: unknown) => boolean): Promise<void>;
  quit(): Promise<void>;
}

let machineCount = 0;

async function startMachine(machine: string, memoryMib: number, extra: string[]): Promise<Machine> {
  machineCount += 1;
  const socketPath = join(folder, `qmp-${machineCount}`);
  const server = createServer().listen(socketPath);
  const child = spawn(
    EMULATOR,
    [
      '-machine',
      machine,
      '-accel',
      'tcg',
      '-m',
      String(memoryMib),
      '-nodefaults',
      '-no-user-config',
    ]
      .concat(['-display', 'none', '-vga', 'std', '-qmp', `unix:${socketPath}`])
      .concat(extra),
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  children.push(child);
  const exited = once(child, 'exit');
  const [socket] = (await within(once(server, 'connection'), 'QEMU connecting')) as [Socket];
  server.close();
  const seen: { event: string; data: unknown }[] = [];
  const listeners = new Set<() => void>();
  const replies: ((reply: Message) => void)[] = [];

  const lines = createInterface({ input: socket });
  // QEMU resets the connection when it leaves; what matters is whether commands are answered.
  for (const each of [socket, lines]) each.on('error', () => undefined);
  lines.on('line', (line) => {
    const message = JSON.parse(line) as Message;
    if (message.QMP !== undefined) return;
    if (message.event === undefined) replies.shift()?.(message);
    else seen.push({ event: message.event, data: message.data });
    for (const listener of listeners) listener();
  });
  const command = async (execute: string, args: object = {}): Promise<unknown> => {
    const reply = new Promise<Message>((resolve) => {
      replies.push(resolve);
    });
    socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    const { return: value, error } = await within(reply, execute);
    if (error) throw new Error(`${execute}: ${error.desc}`);
    return value;
  };
  await command('qmp_capabilities');
  return {
    command,
    async event(name, matches = () => true) {
      const found = new Promise<void>((resolve) => {
        const look = (): void => {
          if (!seen.some((each) => each.event === name && matches(each.data))) return;
          listeners.delete(look);
          resolve();
        };
        listeners.add(look);
        look();
      });
      await within(found, `event ${name}`);
    },
    async quit() {
      await command('quit');
      await within(exited, 'QEMU leaving');
    },
  };
}

/** Takes the stream the way the driver does: into the spool, parsed behind it. */
async function capture(
  machine: Machine,
  name: string,
): Promise<{ stream: Buffer; collected: ReturnType<typeof collectStream> }> {
  const path = join(folder, name);
  const spool = await createMemorySpool({ folder, memoryLimitBytes: 1 << 20 });
  const server = createServer((socket) => {
    socket.on('data', (bytes) => spool.write(bytes));
    socket.on('end', () => spool.end());
    socket.on('error', (error) => spool.fail(error));
  }).listen(path);
  await once(server, 'listening');
  await machine.command('migrate', { uri: `unix:${path}` });
  const pieces: Uint8Array[] = [];
  for await (const piece of spool.read()) pieces.push(piece);
  server.close();
  await spool.close();
  const collected = collectStream(pieces);
  return { stream: Buffer.concat(pieces), collected };
}

async function readMemory(machine: Machine, memoryMib: number): Promise<Buffer> {
  const path = join(folder, `memory-${machineCount}-${performance.now()}`);
  await machine.command('pmemsave', { val: 0, size: memoryMib << 20, filename: path });
  const bytes = readFileSync(path);
  rmSync(path);
  return bytes;
}

async function loadInto(
  machine: string,
  memoryMib: number,
  stream: AsyncIterable<Uint8Array>,
): Promise<Machine> {
  const path = join(folder, `incoming-${machineCount}`);
  const target = await startMachine(machine, memoryMib, ['-S', '-incoming', `unix:${path}`]);
  const socket = createConnection(path);
  await once(socket, 'connect');
  for await (const chunk of stream) {
    if (!socket.write(chunk)) await within(once(socket, 'drain'), 'QEMU reading');
  }
  socket.end();
  await target.command('migrate-set-capabilities', { capabilities: [] });
  for (;;) {
    const state = (await target.command('query-migrate')) as { status?: string };
    if (state.status === 'completed') break;
    assert.notEqual(state.status, 'failed');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return target;
}

const runStatus = async (machine: Machine): Promise<string> =>
  ((await machine.command('query-status')) as { status: string }).status;

describe('with a real QEMU', () => {
  for (const [machineType, memoryMib] of [
    ['pc', 128],
    ['q35', 256],
  ] as const) {
    test(`a stopped ${machineType} machine comes back with every byte`, async () => {
      const source = await startMachine(machineType, memoryMib, []);
      await new Promise((resolve) => setTimeout(resolve, 500));
      await source.command('stop');
      const before = await readMemory(source, memoryMib);
      assert.ok(before.compare(Buffer.alloc(before.length)) !== 0);
      const { collected } = await capture(source, `stopped-${machineType}`);
      const { result, memory } = collected;
      assert.ok(result.understood, JSON.stringify(result));
      assert.deepEqual(
        result.blocks
          .filter((block) => block.paged)
          .map((block) => block.name.replace(/^.*\//, '')),
        ['pc.ram', 'vga.vram'],
      );
      assert.equal(memory.get('pc.ram')?.length, memoryMib << 20);
      await source.quit();
      const target = await loadInto(
        machineType,
        memoryMib,
        synthesizeStream(synthesisInput(collected)),
      );
      assert.ok((await readMemory(target, memoryMib)).equals(before));
      await target.command('cont');
      await target.event('RESUME');
      assert.equal(await runStatus(target), 'running');
      await target.quit();
    });
  }

  test('a running machine, pre-copied', async () => {
    const source = await startMachine('pc', 128, []);
    const { collected } = await capture(source, 'precopy');
    assert.ok(collected.result.understood, JSON.stringify(collected.result));
    assert.equal(await runStatus(source), 'postmigrate');
    const before = await readMemory(source, 128);
    await source.quit();
    const target = await loadInto('pc', 128, synthesizeStream(synthesisInput(collected)));
    assert.ok((await readMemory(target, 128)).equals(before));
    await target.command('cont');
    assert.equal(await runStatus(target), 'running');
    await target.quit();
  });

  test('a running machine by background snapshot', async (context) => {
    const source = await startMachine('pc', 128, []);
    const capabilities = [{ capability: 'background-snapshot', state: true }];
    try {
      await source.command('migrate-set-capabilities', { capabilities });
    } catch (error) {
      await source.quit();
      context.diagnostic(`not possible here: ${String(error)}`);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 300));
    await source.command('stop');
    const before = await readMemory(source, 128);
    const { stream, collected } = await capture(source, 'background');
    assert.ok(collected.result.understood, JSON.stringify(collected.result));
    await source.quit();
    // The stream itself is the measure: the instant is not observable from outside.
    const original = await loadInto('pc', 128, oneChunk(stream));
    const target = await loadInto('pc', 128, synthesizeStream(synthesisInput(collected)));
    const memory = await readMemory(target, 128);
    assert.ok(memory.equals(await readMemory(original, 128)));
    assert.ok(memory.equals(before));
    await target.command('cont');
    assert.equal(await runStatus(target), 'running');
    await original.quit();
    await target.quit();
  });
});

async function* oneChunk(bytes: Buffer): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}
