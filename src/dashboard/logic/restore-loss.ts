import type { Snapshot } from '../../contract/snapshots.ts';
import type { Vm } from '../../contract/vms.ts';

export type DiskDifference =
  | { readonly kind: 'missing'; readonly target: string }
  | { readonly kind: 'returns'; readonly target: string; readonly sizeBytes: number }
  | {
      readonly kind: 'resized';
      readonly target: string;
      readonly nowBytes: number;
      readonly thenBytes: number;
    };

/** How the disks of a snapshot differ from what the VM has now. */
export function compareDisks(
  snapshot: Pick<Snapshot, 'disks'>,
  vm: Pick<Vm, 'description'>,
): DiskDifference[] {
  const now = new Map(
    vm.description.disks
      .filter((disk) => disk.obstacle?.code !== 'not_a_disk' && !disk.readOnly)
      .map((disk) => [disk.target, disk.sizeBytes]),
  );
  const then = new Map(snapshot.disks.map((disk) => [disk.target, disk.sizeBytes]));
  return [
    ...[...now.keys()]
      .filter((target) => !then.has(target))
      .map((target) => ({ kind: 'missing', target }) as const),
    ...[...then].flatMap(([target, thenBytes]): DiskDifference[] => {
      const nowBytes = now.get(target);
      if (nowBytes === undefined) return [{ kind: 'returns', target, sizeBytes: thenBytes }];
      return nowBytes === thenBytes ? [] : [{ kind: 'resized', target, nowBytes, thenBytes }];
    }),
  ];
}

/** Usable snapshots of the same VM that were taken after this one. */
export const countTakenSince = (
  snapshot: Pick<Snapshot, 'id' | 'capturedAt'>,
  all: readonly Pick<Snapshot, 'id' | 'capturedAt' | 'state'>[],
): number =>
  all.filter(
    (other) =>
      other.state === 'active' &&
      other.id !== snapshot.id &&
      other.capturedAt !== null &&
      snapshot.capturedAt !== null &&
      other.capturedAt > snapshot.capturedAt,
  ).length;
