import { countJobsByState } from '../database/jobs.ts';
import { readAuditHead } from '../database/audit-events.ts';
import { listHosts } from '../database/hosts.ts';
import { countSnapshotsByState } from '../database/snapshot-list.ts';
import { authorize } from '../access/principal.ts';
import type { Caller, Environment } from './environment.ts';

/** Throws when the catalog cannot be read. */
export async function checkReady(environment: Environment): Promise<void> {
  await readAuditHead(environment.catalog.read);
}

export interface FleetNumbers {
  readonly jobs: ReadonlyMap<string, number>;
  readonly snapshots: ReadonlyMap<string, number>;
  readonly hosts: readonly { readonly name: string; readonly lastSeenMs: number | null }[];
  readonly auditSequence: number;
}

export async function readFleetNumbers(
  environment: Environment,
  caller: Caller,
): Promise<FleetNumbers> {
  authorize(caller.principal, 'view');
  const db = environment.catalog.read;
  const hosts = await listHosts(db, { limit: 1000 });
  return {
    jobs: await countJobsByState(db),
    snapshots: await countSnapshotsByState(db),
    hosts: hosts.map(({ name, lastSeenAt }) => ({
      name,
      lastSeenMs: lastSeenAt === null ? null : Date.parse(lastSeenAt),
    })),
    auditSequence: (await readAuditHead(db))?.sequence ?? 0,
  };
}
