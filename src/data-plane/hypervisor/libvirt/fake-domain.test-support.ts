import type { DomainControl, MonitorEvent } from './domain-control.ts';
import type { MemoryListener } from './memory-listener.ts';

/** The calls that can go wrong; `monitor:` ones are QMP commands. */
export const FAULT_POINTS = [
  'suspend',
  'beginBackup',
  'monitor:migrate',
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
  readonly guest: { state: string; frozen: boolean; backup: boolean };
  readonly calls: string[];
  /** Lets the late calls happen. */
  finishLate(): void;
  hasLate(): boolean;
  /** As its owner would. */
  suspendByOwner(): void;
  resumeByOwner(): void;
  endStream(): void;
}

/** A guest in memory, with QEMU's rules about who resumes it and when. */
export function createFakeDomain(options: {
  fault?: Fault | undefined;
  /** QEMU 7 and 8 resume after a background snapshot by themselves. */
  resumesItself: boolean;
  mode: 'background' | 'pre-copy';
}): FakeDomain {
  const { fault, resumesItself, mode } = options;
  const guest = { state: 'running', frozen: false, backup: false };
  const calls: string[] = [];
  const late: (() => void)[] = [];
  let migration = 'none';
  let pauseAsked = false;
  let listener: (event: MonitorEvent) => void = () => undefined;
  const pagesFlow = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  const lost = Promise.withResolvers<void>();
  ended.promise.catch(() => undefined);
  let nowMs = 0;
  const tell = (name: string, details = ''): void =>
    listener({ name, atMs: (nowMs += 1), details });
  const setMigration = (status: string): void => {
    migration = status;
    tell('MIGRATION', JSON.stringify({ status }));
  };
  const stop = (state: string): void => {
    if (guest.state !== 'running') {
      guest.state = state;
      return;
    }
    guest.state = state;
    tell('STOP');
  };
  const go = (): void => {
    if (guest.state === 'running') return;
    guest.state = 'running';
    pauseAsked = false;
    tell('RESUME');
  };
  const call = async (point: FaultPoint | string, effect: () => void): Promise<void> => {
    calls.push(point);
    await Promise.resolve();
    if (!fault || fault.point !== point || fault.times === 0) {
      effect();
      return;
    }
    fault.times -= 1;
    if (fault.kind === 'lies') effect();
    if (fault.kind === 'late') {
      await new Promise<void>((resolve) => {
        late.push(() => {
          effect();
          resolve();
        });
      });
      return;
    }
    throw new Error(`${point} failed`);
  };
  const migrate = (): void => {
    setMigration('setup');
    setMigration('active');
    if (mode === 'background') {
      pagesFlow.resolve();
      if (resumesItself) go();
    }
  };
  const cancel = (): void => {
    if (migration !== 'active') return;
    setMigration('cancelled');
    ended.reject(new Error('cancelled'));
    if (guest.state === 'finish-migrate') go();
  };
  const answer = (value: unknown): string => JSON.stringify({ return: value });
  const monitor = async (text: string): Promise<string> => {
    const { execute } = JSON.parse(text) as { execute: string };
    const effects: Record<string, () => void> = { migrate, migrate_cancel: cancel, cont: go };
    await call(`monitor:${execute}`, effects[execute] ?? (() => undefined));
    if (execute === 'query-status') return answer({ status: guest.state });
    if (execute === 'query-migrate') return answer({ status: migration });
    if (execute === 'query-migrate-capabilities') {
      return answer([{ capability: 'background-snapshot', state: mode === 'background' }]);
    }
    return answer({});
  };
  const suspend = (): void => {
    pauseAsked = true;
    stop('paused');
  };
  return {
    guest,
    calls,
    control: {
      monitor,
      rescueMonitor: monitor,
      suspend: async () => await call('suspend', suspend),
      resume: async () => await call('resume', go),
      readXml: async () => await Promise.resolve(''),
      beginBackup: async () => await call('beginBackup', () => (guest.backup = true)),
      endBackup: async () => await call('endBackup', () => (guest.backup = false)),
      isPauseAsked: async () => await Promise.resolve(pauseAsked && guest.state !== 'running'),
      pingAgent: async () => await call('pingAgent', () => undefined),
      dropCheckpoint: async () => await call('dropCheckpoint', () => undefined),
      freezeFileSystems: async () => await call('freezeFileSystems', () => (guest.frozen = true)),
      thawFileSystems: async () => await call('thawFileSystems', () => (guest.frozen = false)),
      async watchMonitor(listen) {
        listener = listen;
        if (fault?.point === 'watch.lost') setImmediate(() => lost.resolve());
        return await Promise.resolve({
          lost: lost.promise,
          stop: async () => await Promise.resolve(),
        });
      },
    },
    memory: {
      uri: 'unix:/fake',
      pagesFlow: pagesFlow.promise,
      ended: ended.promise,
      close: async () => await Promise.resolve(),
    },
    finishLate: () => {
      for (const happen of late.splice(0)) happen();
    },
    hasLate: () => late.length > 0,
    suspendByOwner: suspend,
    resumeByOwner: go,
    endStream() {
      if (migration !== 'active') return;
      stop(mode === 'pre-copy' ? 'postmigrate' : guest.state);
      setMigration('completed');
      ended.resolve();
    },
  };
}
