import type { GuestRescue } from '../data-plane/hypervisor/freeze-guard.ts';
import type { Clock } from '../shared/clock.ts';
import { describeThrown } from '../shared/errors.ts';
import type { Logger } from '../shared/logger.ts';

const RETRY_DELAY_MS = 500;
/** With what one attempt tries by itself, for hours; then only a person can help. */
const RELEASE_ATTEMPTS = 200;

interface Entry {
  /** Whose word it is; null when nobody is left who could take it back. */
  owner: object | null;
  timer: NodeJS.Timeout | null;
  state: 'watched' | 'releasing' | 'released';
}

/** The captures that are looked after, and what is done when one goes wrong. */
export interface Watchlist {
  readonly size: number;
  has(captureId: string): boolean;
  /** False when the guest was let go already: the capture must not go on. */
  arm(owner: object, captureId: string, deadlineMs: number | null): boolean;
  /** False like `arm`. An unknown capture is no error. */
  disarm(captureId: string): boolean;
  /** The process behind these captures is gone. */
  abandon(owner: object): void;
  /** A capture found at the start. Its owner may live and come back for it within the time. */
  adopt(captureId: string, graceMs: number): void;
  /** Resolves when nothing is looked after any more. */
  idle(): Promise<void>;
}

interface WatchlistOptions {
  readonly rescue: GuestRescue;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Never throws: what cannot be done is said loudly, and the capture's mark stays for the next. */
async function releaseUntilFree(
  { rescue, clock, logger }: WatchlistOptions,
  captureId: string,
  why: string,
): Promise<void> {
  const startedMs = clock.monotonicMs();
  for (let attempt = 1; attempt <= RELEASE_ATTEMPTS; attempt += 1) {
    try {
      // The mark is the truth: what it does not hold any more is not touched.
      const mark = await rescue.readMark(captureId);
      if (!mark) return;
      if (attempt === 1) logger.warn({ ...mark, why }, 'the guard lets a guest go');
      await rescue.release(mark);
      const tookMs = Math.round(clock.monotonicMs() - startedMs);
      logger.warn({ captureId, vmId: mark.vmId, tookMs }, 'the guard let a guest go');
      return;
    } catch (error) {
      logger.error({ captureId, attempt, reason: describeThrown(error) }, 'a guest may be held');
      await new Promise<void>((resolve) => setTimeout(resolve, RETRY_DELAY_MS));
    }
  }
  logger.error({ captureId }, 'the guard gives up on a guest; resume and thaw it by hand');
}

interface Entries {
  readonly size: number;
  get(captureId: string): Entry | undefined;
  all(): IterableIterator<[string, Entry]>;
  add(captureId: string, owner: object | null): Entry;
  remove(captureId: string): void;
  idle(): Promise<void>;
}

function createEntries(): Entries {
  const entries = new Map<string, Entry>();
  const waiting: (() => void)[] = [];
  return {
    get size() {
      return entries.size;
    },
    get: (captureId) => entries.get(captureId),
    all: () => entries.entries(),
    add(captureId, owner) {
      const entry: Entry = { owner, timer: null, state: 'watched' };
      entries.set(captureId, entry);
      return entry;
    },
    remove(captureId) {
      const entry = entries.get(captureId);
      if (entry?.timer) clearTimeout(entry.timer);
      entries.delete(captureId);
      if (entries.size === 0) for (const resolve of waiting.splice(0)) resolve();
    },
    async idle() {
      if (entries.size === 0) return;
      await new Promise<void>((resolve) => waiting.push(resolve));
    },
  };
}

export function createWatchlist(options: WatchlistOptions): Watchlist {
  const entries = createEntries();

  const act = (captureId: string, entry: Entry, why: string): void => {
    if (entry.timer) clearTimeout(entry.timer);
    entry.timer = null;
    if (entry.state !== 'watched') return;
    entry.state = 'releasing';
    void releaseUntilFree(options, captureId, why).finally(() => {
      entry.state = 'released';
      // One whose owner still lives stays, so that the owner hears of it.
      if (entry.owner === null) entries.remove(captureId);
    });
  };
  const setDeadline = (captureId: string, entry: Entry, deadlineMs: number): void => {
    const timer = setTimeout(() => void onDeadline(captureId, entry, timer), deadlineMs);
    entry.timer = timer;
  };
  const onDeadline = async (
    captureId: string,
    entry: Entry,
    timer: NodeJS.Timeout,
  ): Promise<void> => {
    const isHeld = await mayBeHeld(options, captureId);
    // Another word can have come meanwhile.
    if (entries.get(captureId) !== entry || entry.timer !== timer) return;
    if (isHeld) act(captureId, entry, 'its time is up');
    else if (entry.owner === null) entries.remove(captureId);
  };

  return {
    get size() {
      return entries.size;
    },
    has: (captureId) => entries.get(captureId) !== undefined,
    arm(owner, captureId, deadlineMs) {
      const entry = entries.get(captureId) ?? entries.add(captureId, owner);
      entry.owner = owner;
      if (entry.state !== 'watched') return false;
      if (entry.timer) clearTimeout(entry.timer);
      entry.timer = null;
      if (deadlineMs !== null) setDeadline(captureId, entry, deadlineMs);
      return true;
    },
    disarm(captureId) {
      const entry = entries.get(captureId);
      if (!entry) return true;
      entry.owner = null;
      if (entry.state !== 'releasing') entries.remove(captureId);
      return entry.state === 'watched';
    },
    abandon(owner) {
      for (const [captureId, entry] of entries.all()) {
        if (entry.owner !== owner) continue;
        entry.owner = null;
        if (entry.state === 'released') entries.remove(captureId);
        else act(captureId, entry, 'the process that captured it is gone');
      }
    },
    adopt(captureId, graceMs) {
      if (entries.get(captureId)) return;
      const entry = entries.add(captureId, null);
      if (graceMs > 0) setDeadline(captureId, entry, graceMs);
      else act(captureId, entry, 'the process that captured it died before');
    },
    idle: async () => await entries.idle(),
  };
}

/** A mark that cannot be read counts as held: looking at a free guest does no harm. */
async function mayBeHeld(
  { rescue, logger }: WatchlistOptions,
  captureId: string,
): Promise<boolean> {
  try {
    const mark = await rescue.readMark(captureId);
    return mark !== null && (mark.holds !== 'nothing' || !mark.ownerAlive);
  } catch (error) {
    logger.error({ captureId, reason: describeThrown(error) }, 'a mark cannot be read');
    return true;
  }
}
