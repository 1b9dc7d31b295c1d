import type { Snapshot } from '../../contract/snapshots.ts';

export interface SnapshotDialogProps {
  readonly snapshot: Snapshot;
  readonly onClose: () => void;
}
