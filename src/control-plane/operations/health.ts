import { countJobsByState } from '../database/jobs.ts';
import { readAuditHead } from '../database/audit-events.ts';
import { listHosts } from '../database/hosts.ts';
import { countSnapshotsByState } from '../database/snapshot-list.ts';
import { authorize, FLEET, mayDo, reachOf } from '../access/principal.ts';
import type { Caller, Environment } from './environment.ts';

/** Throws when the catalog cannot be read. */
export async function checkReady(environment: Environment): Promise<void> {
  await readAuditHead(environment.catalog.read);
}

export interface FleetNumbers {
  readonly jobs: ReadonlyMap<string, number>;
  readonly snapshots: ReadonlyMap<string, number>;
  readonly hosts: readonly { readonly name: string; readonly lastSeenMs: number | null }[];
  /** Null for whoever may not read the audit trail. */
  readonly auditSequence: number | null;
}

export async function readFleetNumbers(
  environment: Environment,
  caller: Caller,
): Promise<FleetNumbers> {
  // What the server counts of itself is of all VMs together.
  authorize(caller.principal, 'view', FLEET);
  const db = environment.catalog.read;
  const reach = reachOf(caller.principal, 'view');
  const hosts = await listHosts(db, reach, { limit: 1000 });
  return {
    jobs: await countJobsByState(db, reach),
    snapshots: await countSnapshotsByState(db, reach),
    hosts: hosts.map(({ name, lastSeenAt }) => ({
      name,
      lastSeenMs: lastSeenAt === null ? null : Date.parse(lastSeenAt),
    })),
    auditSequence: mayDo(caller.principal, 'read-audit', FLEET)
      ? ((await readAuditHead(db))?.sequence ?? 0)
      : null,
  };
}
