import type { DomainControl } from './domain-control.ts';

export interface EffectTracker {
  readonly domain: DomainControl;
  /** How many calls that may still change the guest have not been answered. */
  pending(): number;
  /** Resolves when all of them are over; each has its own limit. */
  settle(): Promise<void>;
}

/**
 * Follows the calls that change a guest. One that we stopped waiting for may still happen: what
 * lets the guest go has to come after it.
 */
export function trackEffects(domain: DomainControl): EffectTracker {
  const pending = new Set<Promise<unknown>>();
  const track = async <T>(call: Promise<T>): Promise<T> => {
    pending.add(call);
    try {
      return await call;
    } finally {
      pending.delete(call);
    }
  };
  return {
    domain: {
      ...domain,
      monitor: async (command) => await track(domain.monitor(command)),
      suspend: async () => await track(domain.suspend()),
      beginBackup: async (backup) => await track(domain.beginBackup(backup)),
      freezeFileSystems: async () => await track(domain.freezeFileSystems()),
    },
    pending: () => pending.size,
    async settle() {
      while (pending.size > 0) await Promise.allSettled(pending);
    },
  };
}
