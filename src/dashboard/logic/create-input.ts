import type { z } from 'zod';
import type { snapshotCreateInputSchema } from '../../contract/snapshot-inputs.ts';
import type { Vm } from '../../contract/vms.ts';
import { quiescePolicySchema } from '../../shared/inventory.ts';
import type { DiskDescription, QuiescePolicy, SnapshotKind } from '../../shared/inventory.ts';

export const EXPIRY_DAYS = [0, 1, 7, 30, 90] as const;
const DAY_MS = 86_400_000;

export interface CreateForm {
  readonly name: string;
  readonly description: string;
  readonly kind: SnapshotKind;
  readonly quiesce: QuiescePolicy;
  readonly skipDisks: readonly string[];
  /** 0: kept until somebody deletes it. */
  readonly expiresInDays: number;
  readonly reason: string;
  readonly reference: string;
}

export const parseQuiesce = (text: string): QuiescePolicy =>
  quiescePolicySchema.safeParse(text).data ?? 'prefer';

export const capturableDisks = (vm: Pick<Vm, 'description'>): DiskDescription[] =>
  vm.description.disks.filter((disk) => disk.obstacle === null);

/** Absent rather than empty, so that the server's own defaults hold. */
export function createBody(
  vmId: string,
  form: CreateForm,
  now: Date,
): z.input<typeof snapshotCreateInputSchema> {
  const text = (key: 'name' | 'reason' | 'reference'): Record<string, string> => {
    const value = form[key].trim();
    return value === '' ? {} : { [key]: value };
  };
  return {
    vm: vmId,
    kind: form.kind,
    quiesce: form.quiesce,
    skipDisks: [...form.skipDisks],
    description: form.description.trim(),
    ...text('name'),
    ...text('reason'),
    ...text('reference'),
    ...(form.expiresInDays === 0
      ? {}
      : { expiresAt: new Date(now.getTime() + form.expiresInDays * DAY_MS).toISOString() }),
  };
}
