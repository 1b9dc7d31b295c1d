import type { Reader } from './catalog.ts';

/** The newest active snapshot of a VM whose checkpoint is still on the host: the base of an incremental capture. */
export async function findCheckpointHolder(
  db: Reader,
  vmId: string,
): Promise<{ snapshotId: string; checkpoint: string } | undefined> {
  const row = await db
    .selectFrom('snapshots')
    .select(['id', 'checkpoint'])
    .where('vm_id', '=', vmId)
    .where('state', '=', 'active')
    .where('checkpoint', 'is not', null)
    .orderBy('captured_at', 'desc')
    .limit(1)
    .executeTakeFirst();
  return row && row.checkpoint !== null
    ? { snapshotId: row.id, checkpoint: row.checkpoint }
    : undefined;
}
