import { planSchema } from '../../contract/preflight.ts';
import {
  requestParametersSchema,
  requestResultSchema,
  type Request,
} from '../../contract/requests.ts';
import { OperationError } from '../../shared/errors.ts';
import type { Reader } from '../database/catalog.ts';
import { findRequest, type RequestRow } from '../database/requests.ts';

/** Plans and results in the shape of an older version are left out rather than shown wrongly. */
export function toRequestView(row: RequestRow): Request {
  const { hostId: _hostId, sourceAddress: _sourceAddress, version: _version, ...view } = row;
  return {
    ...view,
    parameters: requestParametersSchema.parse(row.parameters),
    plan: planSchema.safeParse(row.plan).data ?? null,
    result: requestResultSchema.safeParse(row.result).data ?? null,
  };
}

export async function requireRequest(db: Reader, id: string): Promise<RequestRow> {
  const row = await findRequest(db, id);
  if (!row) throw new OperationError('not_found', `There is no request ${id}.`);
  return row;
}
