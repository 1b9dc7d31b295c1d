import { z } from 'zod';
import type { Reader, Writer } from './catalog.ts';
import { readJson, readWord } from './json-column.ts';
import { storedPrincipalSchema, type StoredPrincipal } from './stored-shapes.ts';

const decisionKindSchema = z.enum(['approve', 'reject', 'comment', 'renew', 'override', 'cancel']);

export interface DecisionRow {
  readonly requestId: string;
  readonly position: number;
  readonly round: number;
  readonly kind: z.infer<typeof decisionKindSchema>;
  readonly by: StoredPrincipal;
  readonly comment: string;
  readonly at: string;
}

/** The database refuses a second approval of the same person in a round. */
export async function insertDecision(tx: Writer, decision: DecisionRow): Promise<void> {
  await tx
    .insertInto('request_decisions')
    .values({
      request_id: decision.requestId,
      position: decision.position,
      round: decision.round,
      kind: decision.kind,
      decided_by: JSON.stringify(decision.by),
      decided_by_id: decision.by.id,
      comment: decision.comment,
      at: decision.at,
    })
    .execute();
}

/** Oldest first. */
export async function listDecisions(
  db: Reader,
  requestIds: readonly string[],
): Promise<DecisionRow[]> {
  if (requestIds.length === 0) return [];
  const rows = await db
    .selectFrom('request_decisions')
    .selectAll()
    .where('request_id', 'in', requestIds)
    .orderBy('request_id')
    .orderBy('position')
    .execute();
  return rows.map((row) => ({
    requestId: row.request_id,
    position: row.position,
    round: row.round,
    kind: readWord(decisionKindSchema, row.kind, `a decision about request ${row.request_id}`),
    by: readJson(
      storedPrincipalSchema,
      row.decided_by,
      `a decision about request ${row.request_id}`,
    ),
    comment: row.comment,
    at: row.at,
  }));
}
