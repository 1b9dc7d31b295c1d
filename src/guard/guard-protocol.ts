import { z } from 'zod';
import { HOLD_KINDS } from '../data-plane/hypervisor/freeze-guard.ts';
import { OperationError } from '../shared/errors.ts';

/**
 * JSON lines over a UNIX stream socket that only our own user may open. The worker asks, the guard
 * answers each line with the same `id`; nothing else is ever said.
 */
export const LINE_BYTES_MAX = 2048;
export const DEADLINE_MS_MAX = 60 * 60_000;

const idSchema = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
const captureIdSchema = z.string().min(1).max(128);

export const requestSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('arm'),
    id: idSchema,
    capture: z.strictObject({
      captureId: captureIdSchema,
      vmId: z.guid(),
      wasRunning: z.boolean(),
      holds: z.enum(HOLD_KINDS),
    }),
    deadlineMs: z.int().min(1).max(DEADLINE_MS_MAX).nullable(),
  }),
  z.strictObject({ type: z.literal('disarm'), id: idSchema, captureId: captureIdSchema }),
]);
export type GuardRequest = z.infer<typeof requestSchema>;

export const answerSchema = z.strictObject({
  id: idSchema,
  /** `released`: the guard let this guest go already. `refused`: it takes nothing on any more. */
  outcome: z.enum(['done', 'released', 'refused']),
});
export type GuardAnswer = z.infer<typeof answerSchema>;

export const formatLine = (message: GuardRequest | GuardAnswer): string =>
  `${JSON.stringify(message)}\n`;

/** Cuts a stream into lines and reads each; throws `protocol_error` for what is none. */
export function createLineReader<T>(schema: z.ZodType<T>): { push(bytes: Buffer): T[] } {
  let rest: Buffer = Buffer.alloc(0);
  return {
    push(bytes) {
      const messages: T[] = [];
      let data = rest.length > 0 ? Buffer.concat([rest, bytes]) : bytes;
      for (let end = data.indexOf(0x0a); end >= 0; end = data.indexOf(0x0a)) {
        if (end > LINE_BYTES_MAX) break;
        messages.push(parseLine(schema, data.toString('utf8', 0, end)));
        data = data.subarray(end + 1);
      }
      if (data.length > LINE_BYTES_MAX) {
        throw new OperationError('protocol_error', 'A line of the guard protocol is too long.');
      }
      rest = Buffer.from(data);
      return messages;
    },
  };
}

function parseLine<T>(schema: z.ZodType<T>, line: string): T {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new OperationError('protocol_error', 'A line of the guard protocol is not JSON.', {
      cause: error,
    });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new OperationError('protocol_error', 'A line of the guard protocol makes no sense.', {
    cause: parsed.error,
  });
}
