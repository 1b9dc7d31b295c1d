import { z } from 'zod';
import { OperationError } from '../../../shared/errors.ts';

/** Sends one QMP command through libvirt and gives back its raw answer. */
export type MonitorCommand = (command: string) => Promise<string>;

const answerSchema = z.union([
  z.object({ return: z.unknown() }),
  z.object({ error: z.object({ class: z.string(), desc: z.string() }) }),
]);

/** Runs a QMP command; QEMU's own refusal becomes `hypervisor_failed` with QEMU's words. */
export async function runQmp<T>(
  monitor: MonitorCommand,
  execute: string,
  commandArguments: Readonly<Record<string, unknown>>,
  result: z.ZodType<T>,
): Promise<T> {
  const text = await monitor(JSON.stringify({ execute, arguments: commandArguments }));
  const answer = answerSchema.safeParse(parseJson(text));
  if (!answer.success) {
    throw new OperationError('protocol_error', `QEMU's answer to ${execute} makes no sense.`);
  }
  if ('error' in answer.data) {
    throw new OperationError(
      'hypervisor_failed',
      `QEMU refused ${execute}: ${answer.data.error.desc}`,
      {
        details: { qmpClass: answer.data.error.class },
      },
    );
  }
  const parsed = result.safeParse(answer.data.return);
  if (!parsed.success) {
    throw new OperationError(
      'protocol_error',
      `QEMU's answer to ${execute} has an unknown shape.`,
      {
        cause: parsed.error,
      },
    );
  }
  return parsed.data;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new OperationError('protocol_error', 'QEMU did not answer in JSON.', { cause: error });
  }
}

const nothing = z.unknown();

export async function setCapability(
  monitor: MonitorCommand,
  capability: string,
  state: boolean,
): Promise<void> {
  await runQmp(
    monitor,
    'migrate-set-capabilities',
    { capabilities: [{ capability, state }] },
    nothing,
  );
}

/** `bandwidth` in bytes per second; `downtimeLimitMs` is how long pre-copy may stop the guest at its end. */
export async function setMigrationLimits(
  monitor: MonitorCommand,
  limits: { bandwidth: number; downtimeLimitMs: number },
): Promise<void> {
  await runQmp(
    monitor,
    'migrate-set-parameters',
    { 'max-bandwidth': limits.bandwidth, 'downtime-limit': limits.downtimeLimitMs },
    nothing,
  );
}

export async function startMigration(monitor: MonitorCommand, uri: string): Promise<void> {
  await runQmp(monitor, 'migrate', { uri }, nothing);
}

export async function cancelMigration(monitor: MonitorCommand): Promise<void> {
  await runQmp(monitor, 'migrate_cancel', {}, nothing);
}

const migrationSchema = z.looseObject({
  status: z.string().optional(),
  'error-desc': z.string().optional(),
  'setup-time': z.number().optional(),
  downtime: z.number().optional(),
});

export async function queryMigration(
  monitor: MonitorCommand,
): Promise<{ status: string; error: string | null }> {
  const answer = await runQmp(monitor, 'query-migrate', {}, migrationSchema);
  return { status: answer.status ?? 'none', error: answer['error-desc'] ?? null };
}

const ENDED = ['none', 'completed', 'failed', 'cancelled'];

export const isMigrationOver = (status: string): boolean => ENDED.includes(status);

/** QEMU's RunState, e.g. `running`, `paused`, `postmigrate`. */
export async function queryRunState(monitor: MonitorCommand): Promise<string> {
  const answer = await runQmp(monitor, 'query-status', {}, z.looseObject({ status: z.string() }));
  return answer.status;
}

export async function continueGuest(monitor: MonitorCommand): Promise<void> {
  await runQmp(monitor, 'cont', {}, nothing);
}

export async function queryCapability(
  monitor: MonitorCommand,
  capability: string,
): Promise<boolean> {
  const capabilities = await runQmp(
    monitor,
    'query-migrate-capabilities',
    {},
    z.array(z.looseObject({ capability: z.string(), state: z.boolean() })).max(1000),
  );
  return capabilities.some((each) => each.capability === capability && each.state);
}
