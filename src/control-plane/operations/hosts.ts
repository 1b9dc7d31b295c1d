import type { z } from 'zod';
import type { Host, hostListQuerySchema, hostPageSchema } from '../../contract/hosts.ts';
import { authorizeSomewhere, reachOf } from '../access/principal.ts';
import { listHosts, type HostListRow } from '../database/hosts.ts';
import { decodeCursor, namedCursorSchema, pageFrom, pageLimit } from './cursor.ts';
import type { Caller, Environment } from './environment.ts';

/** Workers report more often than this, so one that does not is down or cut off. */
const SILENT_AFTER_MS = 60_000;

export async function hostList(
  environment: Environment,
  caller: Caller,
  query: z.output<typeof hostListQuerySchema>,
): Promise<z.output<typeof hostPageSchema>> {
  authorizeSomewhere(caller.principal, 'view');
  const limit = pageLimit(query);
  const after = decodeCursor(namedCursorSchema, query.cursor);
  const rows = await listHosts(environment.catalog.read, reachOf(caller.principal, 'view'), {
    limit: limit + 1,
    after,
  });
  const nowMs = environment.clock.now().getTime();
  return pageFrom(rows, {
    limit,
    toItem: (row) => toHostView(row, nowMs),
    keyOf: ({ name, id }) => ({ name, id }),
  });
}

function toHostView(row: HostListRow, nowMs: number): Host {
  const { room: _room, ...view } = row;
  const isSilent = row.lastSeenAt === null || nowMs - Date.parse(row.lastSeenAt) > SILENT_AFTER_MS;
  if (!isSilent) return view;
  return {
    ...view,
    state: 'silent',
    stateReason: `Its worker has not reported since ${row.lastSeenAt ?? 'it was made known'}.`,
  };
}
