import type { QuiescePolicy, SnapshotKind } from '../../shared/inventory.ts';

/** What was asked for, as far as preflight cares. */
export interface CaptureWish {
  readonly kind: SnapshotKind;
  /** Only these; undefined: all that are not skipped. */
  readonly disks?: readonly string[] | undefined;
  readonly skipDisks: readonly string[];
  readonly quiesce: QuiescePolicy;
}
