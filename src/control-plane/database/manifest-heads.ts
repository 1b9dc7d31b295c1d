import type { Reader, Writer } from './catalog.ts';

/** What a bundle's manifest says of the audit trail, as the worker read it from the repository. */
export interface ManifestHeadRow {
  readonly snapshotId: string;
  /** Null: the trail was empty then. */
  readonly auditHead: string | null;
  readonly capturedAt: string;
}

export async function reportManifestHead(tx: Writer, row: ManifestHeadRow): Promise<void> {
  const values = { audit_head: row.auditHead, captured_at: row.capturedAt };
  await tx
    .insertInto('manifest_heads')
    .values({ snapshot_id: row.snapshotId, ...values })
    .onConflict((conflict) => conflict.column('snapshot_id').doUpdateSet(values))
    .execute();
}

export async function listManifestHeads(db: Reader): Promise<ManifestHeadRow[]> {
  const rows = await db.selectFrom('manifest_heads').selectAll().orderBy('captured_at').execute();
  return rows.map((row) => ({
    snapshotId: row.snapshot_id,
    auditHead: row.audit_head,
    capturedAt: row.captured_at,
  }));
}
