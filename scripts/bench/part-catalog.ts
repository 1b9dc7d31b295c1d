import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { waitFor } from '../../src/shared/waiting.ts';
import type { BenchOptions } from './options.ts';
import { seedCatalog, type CatalogSize, type SeededCatalog } from './seed-catalog.ts';

export interface CatalogCall {
  readonly what: string;
  readonly calls: number;
  readonly medianMs: number;
  readonly p99Ms: number;
}

export interface CatalogResult {
  readonly size: CatalogSize;
  readonly catalogBytes: number;
  readonly calls: readonly CatalogCall[];
  /** Of the server process, after all calls. */
  readonly residentBytes: number;
}

const FULL: CatalogSize = { vms: 1000, snapshotsPerVm: 100, auditEvents: 1_000_000 };
const QUICK: CatalogSize = { vms: 100, snapshotsPerVm: 20, auditEvents: 20_000 };
const START_LIMIT_MS = 60_000;
const CALL_LIMIT_MS = 30_000;
const CALLS = 100;
const SERVER = path.resolve(import.meta.dirname, '../../src/main/server.ts');

const readySchema = z.object({ url: z.string(), firstToken: z.string().optional() });
const pageSchema = z.looseObject({
  items: z.array(z.looseObject({})),
  nextCursor: z.string().nullish(),
});

/** How long the API takes over a fleet with years of history. Each call is made by itself. */
export async function benchCatalog(options: BenchOptions): Promise<CatalogResult> {
  const size = options.quick ? QUICK : FULL;
  const folder = await mkdtemp('/var/tmp/komadori-bench-catalog-');
  try {
    const databasePath = path.join(folder, 'catalog.sqlite');
    const seeded = await seedCatalog(databasePath, size);
    return await measureServer(databasePath, size, seeded);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function measureServer(
  databasePath: string,
  size: CatalogSize,
  seeded: SeededCatalog,
): Promise<CatalogResult> {
  const args = [SERVER, '--database', databasePath, '--port', '0', '--log-level', 'error'];
  const server = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const lines = createInterface({ input: server.stdout });
    const [line] = await waitFor(once(lines, 'line'), {
      timeoutMs: START_LIMIT_MS,
      what: 'The start of the server',
    });
    const { url } = readySchema.parse(JSON.parse(String(line)));
    const calls: CatalogCall[] = [];
    for (const [index, { what, who, query }] of plannedCalls(seeded.vmId).entries()) {
      const token = seeded.tokens[who][index + 1] ?? '';
      calls.push(await measureCall(what, { url: `${url}/api/v1/${query}`, token }));
    }
    const [token = ''] = seeded.tokens.administrator;
    calls.push(await measurePages(`${url}/api/v1/vms?limit=100`, token));
    const status = await readFile(`/proc/${server.pid}/status`, 'utf8');
    const residentBytes = Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024;
    return { size, catalogBytes: (await stat(databasePath)).size, calls, residentBytes };
  } finally {
    if (server.exitCode === null) {
      server.kill();
      await once(server, 'exit');
    }
  }
}

const ONE_DAY = 'after=2025-01-03T00:00:00.000Z&before=2025-01-04T00:00:00.000Z';

const plannedCalls = (
  vmId: string,
): readonly { what: string; who: keyof SeededCatalog['tokens']; query: string }[] => [
  { what: 'VMs, first 100', who: 'administrator', query: 'vms?limit=100' },
  { what: 'VMs by part of the name', who: 'administrator', query: 'vms?search=0042' },
  { what: 'one VM', who: 'administrator', query: `vms/${vmId}` },
  { what: 'snapshots, first 100', who: 'administrator', query: 'snapshots?limit=100' },
  { what: 'timeline of a VM', who: 'administrator', query: `snapshots?vmId=${vmId}&limit=100` },
  {
    what: 'snapshots by part of the name',
    who: 'administrator',
    query: 'snapshots?search=app-00042&limit=100',
  },
  { what: 'audit events, newest 100', who: 'administrator', query: 'audit-events?limit=100' },
  {
    what: 'audit events of a VM',
    who: 'administrator',
    query: `audit-events?resourceType=vm&resourceId=${vmId}&limit=100`,
  },
  {
    what: 'audit events of a person',
    who: 'administrator',
    query: 'audit-events?actorId=user-7&limit=100',
  },
  {
    what: 'audit events of a day',
    who: 'administrator',
    query: `audit-events?${ONE_DAY}&limit=100`,
  },
  { what: 'VMs, as a label’s viewer', who: 'viewer', query: 'vms?limit=100' },
  { what: 'snapshots, as a label’s viewer', who: 'viewer', query: 'snapshots?limit=100' },
];

async function measureCall(
  what: string,
  call: { url: string; token: string },
): Promise<CatalogCall> {
  const times: number[] = [];
  for (let count = 0; count < CALLS; count += 1) {
    const startedMs = performance.now();
    await readPage(call.url, call.token);
    times.push(performance.now() - startedMs);
  }
  return summarise(what, times);
}

async function measurePages(url: string, token: string): Promise<CatalogCall> {
  const times: number[] = [];
  for (let count = 0; count < CALLS / 10; count += 1) {
    const startedMs = performance.now();
    let cursor: string | null | undefined;
    do {
      const next = cursor ? `${url}&cursor=${encodeURIComponent(cursor)}` : url;
      ({ nextCursor: cursor } = await readPage(next, token));
    } while (cursor);
    times.push(performance.now() - startedMs);
  }
  return summarise('all VMs, page after page', times);
}

async function readPage(
  url: string,
  token: string,
): Promise<{ nextCursor?: string | null | undefined }> {
  const response = await fetch(url, {
    headers: { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(CALL_LIMIT_MS),
  });
  const body: unknown = await response.json();
  if (response.status !== 200)
    throw new Error(`${url} answered ${response.status}: ${JSON.stringify(body)}`);
  const page = pageSchema.safeParse(body);
  if (!page.success) return {};
  if (page.data.items.length === 0) throw new Error(`${url} answered with nothing`);
  return page.data;
}

function summarise(what: string, times: readonly number[]): CatalogCall {
  const sorted = times.toSorted((one, other) => one - other);
  const at = (part: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
  return { what, calls: times.length, medianMs: at(0.5), p99Ms: at(0.99) };
}
