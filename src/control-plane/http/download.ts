import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { routes } from '../../contract/routes.ts';
import { auditEventExport } from '../operations/audit-export.ts';
import type { Caller, Environment } from '../operations/environment.ts';
import { parseInput } from './parse-input.ts';

const MEDIA = {
  jsonl: 'application/jsonl; charset=utf-8',
  csv: 'text/csv; charset=utf-8; header=present',
} as const;

/** Sent piece by piece as the client takes it. */
export async function sendAuditExport(
  environment: Environment,
  caller: Caller,
  { request, reply }: { request: FastifyRequest; reply: FastifyReply },
): Promise<FastifyReply> {
  const query = parseInput(routes.auditEventExport.query, request.query, 'query');
  const pieces = await auditEventExport(environment, caller, query);
  return await reply
    .header('cache-control', 'no-store')
    .header('content-disposition', `attachment; filename="audit-events.${query.format}"`)
    .type(MEDIA[query.format])
    .send(Readable.from(pieces, { objectMode: true, highWaterMark: 1 }));
}
