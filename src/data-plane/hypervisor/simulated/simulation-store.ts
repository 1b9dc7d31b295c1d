import { mkdirSync, watch } from 'node:fs';
import path from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { z } from 'zod';
import type { Clock } from '../../../shared/clock.ts';
import { OperationError } from '../../../shared/errors.ts';
import {
  faultSchema,
  type ArmOptions,
  type Fault,
  type FaultKind,
  type FaultOfKind,
} from './faults.ts';
import { simulatedVmSchema, type SimulatedVm } from './simulated-vm.ts';

export type GuestEventKind =
  | 'defined'
  | 'removed'
  | 'renamed'
  | 'disk_added'
  | 'started'
  | 'stopped'
  | 'crashed'
  | 'paused'
  | 'resumed'
  | 'frozen'
  | 'thawed'
  | 'io_error'
  | 'agent_changed'
  | 'capture_begun'
  | 'capture_ended';

const guestEventSchema = z.object({
  seq: z.int(),
  vmId: z.string(),
  atMs: z.number(),
  kind: z.enum([
    'defined',
    'removed',
    'renamed',
    'disk_added',
    'started',
    'stopped',
    'crashed',
    'paused',
    'resumed',
    'frozen',
    'thawed',
    'io_error',
    'agent_changed',
    'capture_begun',
    'capture_ended',
  ] satisfies GuestEventKind[]),
  detail: z.string(),
});
/** One thing that happened to a guest; `atMs` is the injected clock's wall time. */
export type GuestEvent = Readonly<z.infer<typeof guestEventSchema>>;

const BUSY_TIMEOUT_MS = 10_000;
const EVENTS_AT_ONCE = 10_000;
const ENDLESS: readonly FaultKind[] = ['slow_reads', 'scratch_full'];

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS vm (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, row TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, vmId TEXT NOT NULL, atMs REAL NOT NULL, kind TEXT NOT NULL,
    detail TEXT NOT NULL) STRICT;
  CREATE INDEX IF NOT EXISTS event_of_vm ON event (vmId, seq);
  CREATE TABLE IF NOT EXISTS fault (
    id INTEGER PRIMARY KEY AUTOINCREMENT, vmId TEXT, fault TEXT NOT NULL, remaining INTEGER) STRICT;
  CREATE TABLE IF NOT EXISTS image (inode TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS written_block (
    inode TEXT NOT NULL, block INTEGER NOT NULL, PRIMARY KEY (inode, block)) STRICT, WITHOUT ROWID;
`;

/**
 * The state of the simulated host. It lives in SQLite, because several processes use it at once
 * and any of them may be killed: a transaction is the instant at which something happens.
 */
export interface SimulationStore {
  /** Nobody else changes anything while `work` runs; it must not wait. May be nested. */
  transaction<T>(work: () => T): T;
  findVm(vmId: string): SimulatedVm | null;
  /** Throws `not_found`. */
  requireVm(vmId: string): SimulatedVm;
  findVmByName(name: string): SimulatedVm | null;
  listVms(): SimulatedVm[];
  saveVm(vm: SimulatedVm): void;
  deleteVm(vmId: string): void;
  appendEvent(vmId: string, kind: GuestEventKind, detail?: string): void;
  events(vmId?: string): GuestEvent[];
  watchEvents(listener: (event: GuestEvent) => void): () => void;
  armFault(fault: Fault, options: ArmOptions): void;
  clearFaults(): void;
  armedFaults(): Fault[];
  /** Uses up a fault that fits; null when none is armed. */
  takeFault<K extends FaultKind>(
    kind: K,
    vmId: string,
    fits?: (fault: FaultOfKind<K>) => boolean,
  ): FaultOfKind<K> | null;
  /** Which 64 KiB blocks of an image were ever written; null for a file that is not known. */
  writtenBlocks(inode: string, first: number, last: number): number[] | null;
  registerImage(inode: string): void;
  markWritten(inode: string, first: number, last: number): void;
  close(): void;
}

export function openSimulationStore(folder: string, clock: Clock): SimulationStore {
  mkdirSync(folder, { recursive: true });
  const database = new DatabaseSync(path.join(folder, 'simulation.sqlite'), {
    timeout: BUSY_TIMEOUT_MS,
  });
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;');
  const prepare = createStatements(database);
  const transaction = createTransactions(database);
  transaction(() => database.exec(SCHEMA));
  const feed = createEventFeed(folder, prepare);
  const vms = createVmTable(prepare);
  return {
    transaction,
    ...vms,
    appendEvent(vmId, kind, detail = '') {
      prepare('INSERT INTO event (vmId, atMs, kind, detail) VALUES (?, ?, ?, ?)').run(
        vmId,
        clock.now().getTime(),
        kind,
        detail,
      );
      feed.wake();
    },
    events: (vmId) =>
      prepare('SELECT * FROM event WHERE ?1 IS NULL OR vmId = ?1 ORDER BY seq')
        .all(vmId ?? null)
        .map((row) => guestEventSchema.parse(row)),
    watchEvents: (listener) => feed.watchEvents(listener),
    ...createFaultTable(prepare, transaction),
    ...createImageTable(prepare, transaction),
    close() {
      feed.close();
      database.close();
    },
  };
}

type Prepare = (sql: string) => StatementSync;

function createStatements(database: DatabaseSync): Prepare {
  const statements = new Map<string, StatementSync>();
  return (sql) => {
    const statement = statements.get(sql) ?? database.prepare(sql);
    statements.set(sql, statement);
    return statement;
  };
}

function createTransactions(database: DatabaseSync): SimulationStore['transaction'] {
  let depth = 0;
  return (work) => {
    if (depth > 0) return work();
    database.exec('BEGIN IMMEDIATE');
    depth += 1;
    try {
      const result = work();
      database.exec('COMMIT');
      return result;
    } catch (error) {
      database.exec('ROLLBACK');
      throw error;
    } finally {
      depth -= 1;
    }
  };
}

type VmTable = Pick<
  SimulationStore,
  'findVm' | 'requireVm' | 'findVmByName' | 'listVms' | 'saveVm' | 'deleteVm'
>;

function createVmTable(prepare: Prepare): VmTable {
  const decode = (row: Record<string, unknown> | undefined): SimulatedVm | null =>
    row === undefined ? null : simulatedVmSchema.parse(JSON.parse(String(row['row'])));
  const findVm = (vmId: string): SimulatedVm | null =>
    decode(prepare('SELECT row FROM vm WHERE id = ?').get(vmId));
  return {
    findVm,
    requireVm(vmId) {
      const vm = findVm(vmId);
      if (vm) return vm;
      throw new OperationError('not_found', `No VM with the id ${vmId} exists on this host.`);
    },
    findVmByName: (name) => decode(prepare('SELECT row FROM vm WHERE name = ?').get(name)),
    listVms: () =>
      prepare('SELECT row FROM vm ORDER BY name')
        .all()
        .map((row) => decode(row))
        .filter((vm) => vm !== null),
    saveVm(vm) {
      const { id, name } = vm.definition;
      prepare(
        'INSERT INTO vm (id, name, row) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name, row = excluded.row',
      ).run(id, name, JSON.stringify(vm));
    },
    deleteVm(vmId) {
      prepare('DELETE FROM vm WHERE id = ?').run(vmId);
    },
  };
}

/** Tells of events of this process at once and of others' when their transaction reaches the disk. */
function createEventFeed(folder: string, prepare: Prepare) {
  const listeners = new Set<(event: GuestEvent) => void>();
  let lastSeq = 0;
  let isWoken = false;
  let isClosed = false;
  const readNew = (): void => {
    isWoken = false;
    if (isClosed || listeners.size === 0) return;
    const rows = prepare('SELECT * FROM event WHERE seq > ? ORDER BY seq LIMIT ?').all(
      lastSeq,
      EVENTS_AT_ONCE,
    );
    for (const row of rows) {
      const event = guestEventSchema.parse(row);
      lastSeq = event.seq;
      for (const listener of listeners) listener(event);
    }
    if (rows.length === EVENTS_AT_ONCE) wake();
  };
  const wake = (): void => {
    if (isWoken || listeners.size === 0) return;
    isWoken = true;
    setImmediate(readNew);
  };
  let watcher: ReturnType<typeof watch> | null = null;
  const skipToNow = (): void => {
    const row = prepare('SELECT max(seq) AS seq FROM event').get();
    lastSeq = Number(row?.['seq'] ?? 0);
  };
  return {
    wake,
    watchEvents(listener: (event: GuestEvent) => void): () => void {
      if (listeners.size === 0) skipToNow();
      else readNew();
      listeners.add(listener);
      watcher ??= watch(folder, { persistent: false }, wake);
      return () => {
        listeners.delete(listener);
      };
    },
    close(): void {
      isClosed = true;
      watcher?.close();
    },
  };
}

type FaultTable = Pick<SimulationStore, 'armFault' | 'clearFaults' | 'armedFaults' | 'takeFault'>;

function createFaultTable(
  prepare: Prepare,
  transaction: SimulationStore['transaction'],
): FaultTable {
  const decode = (row: Record<string, unknown>): Fault =>
    faultSchema.parse(JSON.parse(String(row['fault'])));
  const isOfKind = <K extends FaultKind>(fault: Fault, kind: K): fault is FaultOfKind<K> =>
    fault.kind === kind;
  return {
    armFault(fault, { vmId, times }) {
      const remaining = times ?? (ENDLESS.includes(fault.kind) ? null : 1);
      prepare('INSERT INTO fault (vmId, fault, remaining) VALUES (?, ?, ?)').run(
        vmId ?? null,
        JSON.stringify(faultSchema.parse(fault)),
        remaining,
      );
    },
    clearFaults() {
      prepare('DELETE FROM fault').run();
    },
    armedFaults: () => prepare('SELECT fault FROM fault ORDER BY id').all().map(decode),
    takeFault(kind, vmId, fits = () => true) {
      const find = prepare('SELECT * FROM fault WHERE vmId IS NULL OR vmId = ? ORDER BY id');
      // Most of the time nothing is armed; that must not cost a write transaction.
      if (find.get(vmId) === undefined) return null;
      return transaction(() => {
        for (const row of find.all(vmId)) {
          const fault = decode(row);
          if (!isOfKind(fault, kind) || !fits(fault)) continue;
          const id = Number(row['id']);
          prepare('UPDATE fault SET remaining = remaining - 1 WHERE id = ?').run(id);
          prepare('DELETE FROM fault WHERE id = ? AND remaining <= 0').run(id);
          return fault;
        }
        return null;
      });
    },
  };
}

type ImageTable = Pick<SimulationStore, 'writtenBlocks' | 'registerImage' | 'markWritten'>;

function createImageTable(
  prepare: Prepare,
  transaction: SimulationStore['transaction'],
): ImageTable {
  return {
    writtenBlocks(inode, first, last) {
      if (prepare('SELECT 1 FROM image WHERE inode = ?').get(inode) === undefined) return null;
      return prepare(
        'SELECT block FROM written_block WHERE inode = ? AND block BETWEEN ? AND ? ORDER BY block',
      )
        .all(inode, first, last)
        .map((row) => Number(row['block']));
    },
    registerImage(inode) {
      transaction(() => {
        // Inode numbers come again once a file is gone.
        prepare('DELETE FROM written_block WHERE inode = ?').run(inode);
        prepare('INSERT OR IGNORE INTO image (inode) VALUES (?)').run(inode);
      });
    },
    markWritten(inode, first, last) {
      transaction(() => {
        for (let block = first; block <= last; block += 1) {
          prepare('INSERT OR IGNORE INTO written_block (inode, block) VALUES (?, ?)').run(
            inode,
            block,
          );
        }
      });
    },
  };
}
