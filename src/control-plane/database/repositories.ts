import { z } from 'zod';
import type { Reader, Writer } from './catalog.ts';
import { optionalJson, readOptionalJson, readWord } from './json-column.ts';
import { appendNotification } from './notifications.ts';
import type { PageRequest } from './page.ts';
import type { CatalogSchema } from './schema.ts';
import {
  storedRepositoryStatisticsSchema,
  type StoredRepositoryStatistics,
} from './stored-shapes.ts';

const repositoryStateSchema = z.enum(['ready', 'locked', 'unavailable']);

export interface RepositoryRow {
  readonly id: string;
  readonly name: string;
  readonly hostId: string;
  readonly location: string;
  readonly state: z.infer<typeof repositoryStateSchema>;
  readonly stateReason: string | null;
  readonly statistics: StoredRepositoryStatistics | null;
  readonly measuredAt: string | null;
  readonly lastCollectedAt: string | null;
}

/** What the worker that holds a repository found; null statistics keep what was known. */
export async function reportRepository(
  tx: Writer,
  report: Pick<RepositoryRow, 'id' | 'name' | 'hostId' | 'location' | 'state' | 'stateReason'> & {
    readonly statistics: StoredRepositoryStatistics | null;
    readonly at: string;
  },
): Promise<void> {
  const columns = {
    name: report.name,
    host_id: report.hostId,
    location: report.location,
    state: report.state,
    state_reason: report.stateReason,
    ...(report.statistics && {
      statistics: optionalJson(report.statistics),
      measured_at: report.at,
    }),
  };
  await tx
    .insertInto('repositories')
    .values({ id: report.id, ...columns })
    .onConflict((conflict) => conflict.column('id').doUpdateSet(columns))
    .execute();
  await appendNotification(tx, {
    at: report.at,
    type: 'changed',
    resource: 'repository',
    resourceId: report.id,
    vmId: null,
  });
}

export async function recordCollection(
  tx: Writer,
  change: { id: string; at: string },
): Promise<void> {
  await tx
    .updateTable('repositories')
    .set({ last_collected_at: change.at })
    .where('id', '=', change.id)
    .execute();
}

export async function findRepository(db: Reader, id: string): Promise<RepositoryRow | undefined> {
  const row = await db
    .selectFrom('repositories')
    .selectAll()
    .where('id', '=', id)
    .executeTakeFirst();
  return row && toRepository(row);
}

export async function listRepositories(
  db: Reader,
  page: PageRequest<{ id: string }>,
): Promise<RepositoryRow[]> {
  let query = db.selectFrom('repositories').selectAll();
  if (page.after) query = query.where('id', '>', page.after.id);
  const rows = await query.orderBy('id').limit(page.limit).execute();
  return rows.map(toRepository);
}

function toRepository(row: CatalogSchema['repositories']): RepositoryRow {
  const where = `repository ${row.id}`;
  return {
    id: row.id,
    name: row.name,
    hostId: row.host_id,
    location: row.location,
    state: readWord(repositoryStateSchema, row.state, where),
    stateReason: row.state_reason,
    statistics: readOptionalJson(storedRepositoryStatisticsSchema, row.statistics, where),
    measuredAt: row.measured_at,
    lastCollectedAt: row.last_collected_at,
  };
}
