import type { z } from 'zod';
import type {
  Request,
  requestListQuerySchema,
  requestPageSchema,
} from '../../contract/requests.ts';
import { authorizeSomewhere, reachOf } from '../access/principal.ts';
import { listRequests } from '../database/requests.ts';
import { decodeCursor, idCursorSchema, pageFrom, pageLimit } from './cursor.ts';
import type { Caller, Environment } from './environment.ts';
import { requireVisibleRequest, viewRequest, viewRequests } from './request-view.ts';
import { etagOf, type Versioned } from './versioned.ts';

export async function requestList(
  environment: Environment,
  caller: Caller,
  query: z.output<typeof requestListQuerySchema>,
): Promise<z.output<typeof requestPageSchema>> {
  authorizeSomewhere(caller.principal, 'view');
  const limit = pageLimit(query);
  const db = environment.catalog.read;
  const rows = await listRequests(
    db,
    {
      reach: reachOf(caller.principal, 'view'),
      operations: query.operation,
      states: query.state,
      vmId: query.vmId,
      snapshotId: query.snapshotId,
      requestedById: query.mine ? caller.principal.ref.id : undefined,
    },
    { limit: limit + 1, after: decodeCursor(idCursorSchema, query.cursor) },
  );
  const page = pageFrom(rows, { limit, toItem: (row) => row, keyOf: ({ id }) => ({ id }) });
  return { ...page, items: await viewRequests(environment, caller, db, page.items) };
}

export async function requestGet(
  environment: Environment,
  caller: Caller,
  id: string,
): Promise<Versioned<Request>> {
  authorizeSomewhere(caller.principal, 'view');
  const db = environment.catalog.read;
  const { request } = await requireVisibleRequest(db, caller.principal, id);
  return {
    body: await viewRequest(environment, caller, db, request),
    etag: etagOf(request.version),
  };
}
