import { z } from 'zod';
import type {
  AuditVerification,
  auditEventListQuerySchema,
  auditEventPageSchema,
} from '../../contract/audit-events.ts';
import { authorize, authorizeSomewhere, FLEET, reachOf } from '../access/principal.ts';
import { verifyAuditChain } from '../audit/audit-trail.ts';
import { headOfManifest } from '../audit/manifest-heads.ts';
import { listAuditEvents } from '../database/audit-events.ts';
import { listManifestHeads } from '../database/manifest-heads.ts';
import { decodeCursor, pageFrom, pageLimit } from './cursor.ts';
import type { Caller, Environment } from './environment.ts';

const sequenceCursorSchema = z.object({ sequence: z.int() });

export async function auditEventList(
  environment: Environment,
  caller: Caller,
  query: z.output<typeof auditEventListQuerySchema>,
): Promise<z.output<typeof auditEventPageSchema>> {
  authorizeSomewhere(caller.principal, 'read-audit');
  const limit = pageLimit(query);
  const { limit: _limit, cursor, order = 'newest', ...filter } = query;
  const reach = reachOf(caller.principal, 'read-audit');
  const rows = await listAuditEvents(
    environment.catalog.read,
    { ...filter, reach },
    {
      limit: limit + 1,
      afterSequence: decodeCursor(sequenceCursorSchema, cursor)?.sequence,
      order,
    },
  );
  return pageFrom(rows, { limit, toItem: (row) => row, keyOf: ({ sequence }) => ({ sequence }) });
}

export async function auditVerify(
  environment: Environment,
  caller: Caller,
): Promise<AuditVerification> {
  authorize(caller.principal, 'read-audit', FLEET);
  const db = environment.catalog.read;
  return await verifyAuditChain(db, (await listManifestHeads(db)).flatMap(headOfManifest));
}
