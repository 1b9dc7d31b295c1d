import { z } from 'zod';
import type { DomainControl, MonitorEvent } from './domain-control.ts';
import type { MemoryListener } from './memory-listener.ts';
import type { MonitorCommand } from './qmp.ts';

/** The calls that can go wrong; `monitor:` ones are QMP commands. */
export const FAULT_POINTS = [
  'suspend',
  'beginBackup',
  'monitor:migrate',
  'monitor:query-blockstats',
  'monitor:query-status',
  'monitor:query-migrate',
  'resume',
  'freezeFileSystems',
  'thawFileSystems',
  'watch.lost',
] as const;
export type FaultPoint = (typeof FAULT_POINTS)[number];

/**
 * | fails | the call is refused, and had no effect                      |
 * | lies  | the call is refused, and had its effect                     |
 * | late  | the call is answered, and has its effect, when told to      |
 */
export type FaultKind = 'fails' | 'lies' | 'late';

interface Fault {
  readonly point: FaultPoint;
  readonly kind: FaultKind;
  /** How many calls it concerns. */
  times: number;
}

export interface FakeDomain {
  readonly control: DomainControl;
  readonly memory: MemoryListener;
  /** Of QEMU, and whether file systems are frozen. */
  readonly guest: { state: string; frozen: boolean; backup: boolean; writes: number };
  readonly calls: string[];
  /** Lets the late calls happen. */
  finishLate(): void;
  hasLate(): boolean;
  /** As its owner would. */
  suspendByOwner(): void;
  resumeByOwner(): void;
  endStream(): void;
}

interface FakeQemu {
  readonly guest: FakeDomain['guest'];
  readonly pagesFlow: Promise<void>;
  readonly streamEnded: Promise<void>;
  listen(listener: (event: MonitorEvent) => void): void;
  migration(): string;
  isPauseAsked(): boolean;
  readonly suspend: () => void;
  readonly go: () => void;
  readonly migrate: () => void;
  readonly cancel: () => void;
  readonly endStream: () => void;
}

interface FakeOptions {
  readonly fault?: Fault | undefined;
  /** QEMU 7 and 8 resume after a background snapshot by themselves. */
  readonly resumesItself: boolean;
  readonly mode: 'background' | 'pre-copy';
}

function createFakeQemu({ resumesItself, mode }: FakeOptions): FakeQemu {
  const guest = { state: 'running', frozen: false, backup: false, writes: 0 };
  const pagesFlow = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  ended.promise.catch(() => undefined);
  let listener: (event: MonitorEvent) => void = () => undefined;
  let migration = 'none';
  let pauseAsked = false;
  let nowMs = 0;
  const tell = (name: string, details = ''): void =>
    listener({ name, atMs: (nowMs += 1), details });
  const setMigration = (status: string): void => {
    migration = status;
    tell('MIGRATION', JSON.stringify({ status }));
  };
  const stop = (state: string): void => {
    const didRun = guest.state === 'running';
    guest.state = state;
    if (didRun) tell('STOP');
  };
  const go = (): void => {
    if (guest.state === 'running') return;
    guest.state = 'running';
    pauseAsked = false;
    tell('RESUME');
  };
  return {
    guest,
    pagesFlow: pagesFlow.promise,
    streamEnded: ended.promise,
    listen(next) {
      listener = next;
    },
    migration: () => migration,
    isPauseAsked: () => pauseAsked && guest.state !== 'running',
    suspend() {
      pauseAsked = true;
      stop('paused');
    },
    go,
    migrate() {
      setMigration('setup');
      setMigration('active');
      if (mode !== 'background') return;
      pagesFlow.resolve();
      if (resumesItself) go();
    },
    cancel() {
      if (migration !== 'active') return;
      setMigration('cancelled');
      ended.reject(new Error('cancelled'));
    },
    endStream() {
      if (migration !== 'active') return;
      if (mode === 'pre-copy') stop('postmigrate');
      setMigration('completed');
      ended.resolve();
    },
  };
}

interface FaultyCalls {
  readonly calls: string[];
  readonly late: (() => void)[];
  readonly call: (point: string, effect?: () => void) => Promise<void>;
}

function createFaultyCalls(fault: Fault | undefined): FaultyCalls {
  const calls: string[] = [];
  const late: (() => void)[] = [];
  return {
    calls,
    late,
    async call(point, effect = () => undefined) {
      calls.push(point);
      await Promise.resolve();
      if (!fault || fault.point !== point || fault.times === 0) {
        effect();
        return;
      }
      fault.times -= 1;
      if (fault.kind === 'late') {
        await new Promise<void>((resolve) => late.push(resolve));
        effect();
        return;
      }
      if (fault.kind === 'lies') effect();
      throw new Error(`${point} failed`);
    },
  };
}

const commandSchema = z.object({ execute: z.string() });

function createFakeMonitor(
  qemu: FakeQemu,
  { call }: FaultyCalls,
  mode: FakeOptions['mode'],
): MonitorCommand {
  const effects: Readonly<Record<string, () => void>> = {
    migrate: qemu.migrate,
    migrate_cancel: qemu.cancel,
    cont: qemu.go,
  };
  const answers: Readonly<Record<string, () => unknown>> = {
    'query-status': () => ({ status: qemu.guest.state }),
    'query-blockstats': () => [{ qdev: 'vda', stats: { wr_operations: qemu.guest.writes } }],
    'query-migrate': () => ({ status: qemu.migration() }),
    'query-migrate-capabilities': () => [
      { capability: 'background-snapshot', state: mode === 'background' },
    ],
  };
  return async (text) => {
    const { execute } = commandSchema.parse(JSON.parse(text));
    await call(`monitor:${execute}`, effects[execute]);
    return JSON.stringify({ return: answers[execute]?.() ?? {} });
  };
}

/** A guest in memory, with QEMU's rules about who resumes it and when. */
export function createFakeDomain(options: FakeOptions): FakeDomain {
  const { fault, mode } = options;
  const qemu = createFakeQemu(options);
  const faulty = createFaultyCalls(fault);
  const { guest } = qemu;
  const { call, late } = faulty;
  const monitor = createFakeMonitor(qemu, faulty, mode);
  const lost = Promise.withResolvers<void>();
  return {
    guest,
    calls: faulty.calls,
    control: {
      monitor,
      rescueMonitor: monitor,
      suspend: async () => await call('suspend', qemu.suspend),
      resume: async () => await call('resume', qemu.go),
      readXml: async () => await Promise.resolve(''),
      beginBackup: async () => await call('beginBackup', () => (guest.backup = true)),
      endBackup: async () => await call('endBackup', () => (guest.backup = false)),
      hasBackup: async () => await Promise.resolve(guest.backup),
      isPauseAsked: async () => await Promise.resolve(qemu.isPauseAsked()),
      pingAgent: async () => await call('pingAgent'),
      dropCheckpoint: async () => await call('dropCheckpoint'),
      freezeFileSystems: async () => await call('freezeFileSystems', () => (guest.frozen = true)),
      thawFileSystems: async () => await call('thawFileSystems', () => (guest.frozen = false)),
      async watchMonitor(listener) {
        qemu.listen(listener);
        if (fault?.point === 'watch.lost') setImmediate(() => lost.resolve());
        const stop = async (): Promise<void> => await Promise.resolve();
        return await Promise.resolve({ lost: lost.promise, stop });
      },
    },
    memory: {
      uri: 'unix:/fake',
      pagesFlow: qemu.pagesFlow,
      ended: qemu.streamEnded,
      close: async () => await Promise.resolve(),
    },
    finishLate: () => {
      for (const happen of late.splice(0)) happen();
    },
    hasLate: () => late.length > 0,
    suspendByOwner: qemu.suspend,
    resumeByOwner: qemu.go,
    endStream: qemu.endStream,
  };
}
