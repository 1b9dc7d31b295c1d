import type { Snapshot } from '../../contract/snapshots.ts';

type Node = Pick<Snapshot, 'id' | 'state' | 'parentSnapshotId' | 'capturedAt' | 'createdAt'>;

export interface GraphRow<Item extends Node> {
  /** Null: the VM as it is now. */
  readonly snapshot: Item | null;
  readonly lane: number;
  /** Lanes of newer rows that end in this one. */
  readonly joins: readonly number[];
  /** Lanes that pass by, from the row above to the row below. */
  readonly passing: readonly number[];
  readonly continuesUp: boolean;
  readonly continuesDown: boolean;
}

export interface SnapshotGraph<Item extends Node> {
  readonly rows: readonly GraphRow<Item>[];
  readonly laneCount: number;
}

const takenAt = (snapshot: Node): string => snapshot.capturedAt ?? snapshot.createdAt;

/** Deleted snapshots are not drawn: what grew out of one is linked to what that one grew out of. */
function findParent<Item extends Node>(
  id: string | null,
  byId: ReadonlyMap<string, Item>,
): string | null {
  const seen = new Set<string>();
  let current = id;
  while (current !== null && !seen.has(current)) {
    seen.add(current);
    const snapshot = byId.get(current);
    if (!snapshot) return null;
    if (snapshot.state !== 'deleted') return current;
    current = snapshot.parentSnapshotId;
  }
  return null;
}

/**
 * Lays a VM's snapshots out newest first, with a lane for each line of descent. The first row is
 * the VM as it is now, which descends from `currentSnapshotId`.
 */
export function layOutSnapshots<Item extends Node>(
  snapshots: readonly Item[],
  currentSnapshotId: string | null,
  hasCurrent: boolean,
): SnapshotGraph<Item> {
  const byId = new Map(snapshots.map((snapshot) => [snapshot.id, snapshot]));
  const shown = snapshots
    .filter((snapshot) => snapshot.state !== 'deleted')
    .sort((a, b) => takenAt(b).localeCompare(takenAt(a)) || b.id.localeCompare(a.id));
  const order = new Map(shown.map((snapshot, index) => [snapshot.id, index]));
  /** What each lane waits for; null where it is free. */
  const lanes: (string | null)[] = [];
  const rows: GraphRow<Item>[] = [];

  const addRow = (snapshot: Item | null, parentWish: string | null): void => {
    const found = findParent(parentWish, byId);
    // A parent that is not older (clocks, wrong data) cannot be drawn below its child.
    const parentIndex = found === null ? -1 : (order.get(found) ?? -1);
    const parent = snapshot && parentIndex <= (order.get(snapshot.id) ?? 0) ? null : found;
    const waiting = lanes.flatMap((id, lane) => (snapshot && id === snapshot.id ? [lane] : []));
    const free = lanes.indexOf(null);
    const lane = waiting[0] ?? (free === -1 ? lanes.length : free);
    const joins = waiting.slice(1);
    for (const joined of joins) lanes[joined] = null;
    const passing = lanes.flatMap((id, index) => (id !== null && index !== lane ? [index] : []));
    lanes[lane] = parent;
    rows.push({
      snapshot,
      lane,
      joins,
      passing,
      continuesUp: waiting.length > 0,
      continuesDown: parent !== null,
    });
  };

  if (hasCurrent) addRow(null, currentSnapshotId);
  for (const snapshot of shown) addRow(snapshot, snapshot.parentSnapshotId);
  return { rows, laneCount: Math.max(1, lanes.length) };
}
