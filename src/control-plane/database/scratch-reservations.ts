import type { Reader, Writer } from './catalog.ts';

export interface ScratchReservation {
  readonly id: string;
  readonly hostId: string;
  readonly jobId: string;
  readonly folder: string;
  readonly reservedBytes: number;
  /** A capture is given up before the file system has less than this free. */
  readonly floorBytes: number;
}

export async function reserveScratch(
  tx: Writer,
  reservation: ScratchReservation & { at: string },
): Promise<void> {
  await tx
    .insertInto('scratch_reservations')
    .values({
      id: reservation.id,
      host_id: reservation.hostId,
      job_id: reservation.jobId,
      folder: reservation.folder,
      reserved_bytes: reservation.reservedBytes,
      floor_bytes: reservation.floorBytes,
      created_at: reservation.at,
    })
    .execute();
}

/** Idempotent. */
export async function releaseScratch(
  tx: Writer,
  change: { jobId: string; at: string },
): Promise<void> {
  await tx
    .updateTable('scratch_reservations')
    .set({ released_at: change.at })
    .where('job_id', '=', change.jobId)
    .where('released_at', 'is', null)
    .execute();
}

export async function listHeldScratch(db: Reader, hostId: string): Promise<ScratchReservation[]> {
  const rows = await db
    .selectFrom('scratch_reservations')
    .selectAll()
    .where('host_id', '=', hostId)
    .where('released_at', 'is', null)
    .execute();
  return rows.map((row) => ({
    id: row.id,
    hostId: row.host_id,
    jobId: row.job_id,
    folder: row.folder,
    reservedBytes: row.reserved_bytes,
    floorBytes: row.floor_bytes,
  }));
}
