import type { Snapshot } from '../contract/snapshots.ts';
import type { CommandContext } from './command.ts';
import {
  formatExactTime,
  formatLabels,
  formatPause,
  formatSize,
  formatTime,
  orNone,
} from './formatting.ts';
import type { Column } from './table.ts';
import { renderDetails, renderTable } from './table.ts';
import { tableWidth } from './terminal.ts';

export const snapshotColumns = ({ text }: CommandContext): readonly Column[] => [
  { title: text('column.name'), shrinks: true },
  { title: text('column.vm'), shrinks: true },
  { title: text('column.state') },
  { title: text('column.level') },
  { title: text('column.captured') },
  { title: text('column.pause'), align: 'right' },
  { title: text('column.size'), align: 'right' },
  { title: text('column.stored'), align: 'right' },
  { title: text('column.expires') },
  { title: text('column.id') },
];

export const snapshotRow = (snapshot: Snapshot, indent = ''): string[] => [
  indent + snapshot.name,
  snapshot.vmName,
  snapshot.pinned ? `${snapshot.state}, pinned` : snapshot.state,
  orNone(snapshot.level),
  formatTime(snapshot.capturedAt ?? snapshot.createdAt),
  formatPause(snapshot.pauseMs),
  formatSize(snapshot.sizes?.logicalBytes),
  formatSize(snapshot.sizes?.storedBytes),
  formatTime(snapshot.expiresAt),
  snapshot.id,
];

const DAMAGES_SHOWN_MAX = 20;

export function printSnapshot(context: CommandContext, snapshot: Snapshot): void {
  const { text } = context;
  const { sizes } = snapshot;
  const damage = snapshot.damage
    .slice(0, DAMAGES_SHOWN_MAX)
    .map((one) => `${one.part}: ${formatSize(one.lengthBytes)} @ ${one.offset}: ${one.reason}`);
  const hidden = snapshot.damage.length - damage.length;
  context.print(
    renderDetails([
      [text('column.name'), snapshot.name],
      [text('column.id'), snapshot.id],
      [text('column.vm'), `${snapshot.vmName} (${snapshot.vmId})`],
      [text('column.state'), snapshot.state],
      [
        text('field.failure'),
        snapshot.failure ? `${snapshot.failure.code}: ${snapshot.failure.message}` : null,
      ],
      [text('field.damage'), [...damage, ...(hidden > 0 ? [`… ${hidden}`] : [])].join('\n')],
      [
        text('column.level'),
        snapshot.level ? `${snapshot.level}: ${orNone(snapshot.levelReason)}` : null,
      ],
      [text('column.captured'), formatExactTime(snapshot.capturedAt)],
      [text('column.pause'), formatPauseDetails(snapshot)],
      [text('column.memory'), snapshot.memoryMode],
      [text('column.size'), formatSize(sizes?.logicalBytes)],
      [
        text('column.stored'),
        sizes
          ? `${formatSize(sizes.storedBytes)} (${formatSize(sizes.newBytes)} / ${formatSize(sizes.readBytes)})`
          : null,
      ],
      [text('field.description'), snapshot.description],
      [text('field.labels'), formatLabels(snapshot.labels)],
      [text('field.pinned'), snapshot.pinned ? text('word.yes') : null],
      [
        text('column.expires'),
        snapshot.expiresAt ? formatExactTime(snapshot.expiresAt) : text('word.never'),
      ],
      [text('field.parent'), snapshot.parentSnapshotId],
      [text('column.by'), snapshot.createdBy.name],
      [
        text('field.verified'),
        snapshot.lastVerifiedAt ? formatExactTime(snapshot.lastVerifiedAt) : text('word.never'),
      ],
      [text('field.digest'), snapshot.manifestDigest],
      [
        text('field.skipped'),
        snapshot.skippedDisks.map((disk) => `${disk.target}: ${disk.reason}`).join('\n'),
      ],
    ]),
  );
  if (snapshot.disks.length === 0) return;
  context.print('');
  context.print(
    renderTable(
      [
        { title: text('column.disks') },
        { title: text('column.format') },
        { title: text('column.size'), align: 'right' },
      ],
      snapshot.disks.map((disk) => [disk.target, disk.format, formatSize(disk.sizeBytes)]),
      tableWidth(context.terminal),
    ),
  );
}

function formatPauseDetails(snapshot: Snapshot): string {
  const total = formatPause(snapshot.pauseMs);
  const phases = snapshot.pausePhases.map(
    (phase) => `${phase.name} ${formatPause(phase.durationMs)}`,
  );
  return phases.length > 0 ? `${total} (${phases.join(', ')})` : total;
}

/** Parents before children, each with its indent; what lost its parent begins a tree of its own. */
export function arrangeTree(
  snapshots: readonly Snapshot[],
): { snapshot: Snapshot; indent: string }[] {
  const ids = new Set(snapshots.map((snapshot) => snapshot.id));
  const children = Map.groupBy(snapshots, (snapshot) =>
    snapshot.parentSnapshotId !== null && ids.has(snapshot.parentSnapshotId)
      ? snapshot.parentSnapshotId
      : null,
  );
  const arranged: { snapshot: Snapshot; indent: string }[] = [];
  const open = (children.get(null) ?? [])
    .map((snapshot) => ({ snapshot, depth: 0 }))
    .toSorted(newestFirst);
  for (let next = open.pop(); next; next = open.pop()) {
    const { snapshot, depth } = next;
    arranged.push({ snapshot, indent: depth === 0 ? '' : `${'   '.repeat(depth - 1)}└─ ` });
    const below = (children.get(snapshot.id) ?? []).map((child) => ({
      snapshot: child,
      depth: depth + 1,
    }));
    open.push(...below.toSorted(newestFirst));
  }
  return arranged;
}

/** For a stack: what is taken from its end comes oldest first. */
const newestFirst = (one: { snapshot: Snapshot }, other: { snapshot: Snapshot }): number =>
  other.snapshot.createdAt.localeCompare(one.snapshot.createdAt);
