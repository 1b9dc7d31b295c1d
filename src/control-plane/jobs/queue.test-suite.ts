import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { z } from 'zod';
import { newId } from '../../shared/ids.ts';
import { openCatalog, type Catalog } from '../database/catalog.ts';
import { reportHost } from '../database/hosts.ts';
import { finishRequest, insertRequest } from '../database/requests.ts';
import type { JobDefinition } from './job-definition.ts';
import { enqueueJob } from './queue.ts';

export const HOST_ID = '11111111-1111-4111-8111-111111111111';
const SYSTEM = { id: 'system', name: 'Komadori', kind: 'system' } as const;

export async function temporaryCatalog(
  t: TestContext,
): Promise<{ catalog: Catalog; file: string; folder: string }> {
  const folder = await mkdtemp(path.join(tmpdir(), 'jobs-'));
  const file = path.join(folder, 'catalog.db');
  const catalog = await openCatalog({ path: file });
  t.after(async () => {
    await catalog.close();
    await rm(folder, { recursive: true });
  });
  await catalog.write((tx) =>
    reportHost(tx, {
      id: HOST_ID,
      name: 'host-1',
      state: 'ready',
      stateReason: null,
      description: null,
      room: null,
      at: new Date().toISOString(),
    }),
  );
  return { catalog, file, folder };
}

export async function enqueueTestJob(
  catalog: Catalog,
  options: { parameters?: object; lockKey?: string | null; kind?: string } = {},
): Promise<string> {
  const [requestId, id] = [newId(Date.now()), newId(Date.now())];
  const at = new Date().toISOString();
  await catalog.write(async (tx) => {
    await insertRequest(tx, {
      id: requestId,
      operation: 'collect',
      state: 'approved',
      vm: null,
      snapshot: null,
      hostId: HOST_ID,
      parameters: {},
      plan: null,
      requestedBy: SYSTEM,
      sourceAddress: null,
      reason: null,
      reference: null,
      expiresAt: null,
      approvalExpiresAt: null,
      confirmation: { approvalsNeeded: 0, rule: null, explanation: 'None.' },
      at,
    });
    await enqueueJob(tx, {
      id,
      requestId,
      kind: options.kind ?? 'test',
      hostId: HOST_ID,
      vmId: null,
      snapshotId: null,
      lockKey: options.lockKey ?? null,
      parameters: options.parameters ?? {},
      at,
    });
  });
  return id;
}

export const STEP_NAMES = ['reserve', 'copy', 'commit', 'release'];
export const COMMIT_STEP = 'commit';

const dataSchema = z.object({ begun: z.array(z.string()).default([]) });
const parametersSchema = z.object({});
type Data = z.infer<typeof dataSchema>;
type Parameters = z.infer<typeof parametersSchema>;
export type TestDefinition = JobDefinition<Parameters, Data>;

/** Effects of steps are whatever the caller does with `onRun` and `onUndo`. */
export function testDefinition(hooks: {
  onRun(step: string, signal: AbortSignal, report: (doneBytes: number) => void): Promise<void>;
  onUndo(step: string, begun: readonly string[]): Promise<void>;
}): TestDefinition {
  return {
    kind: 'test',
    parametersSchema,
    dataSchema,
    commitStep: COMMIT_STEP,
    steps: STEP_NAMES.map((name) => ({
      name,
      run: async (context) => {
        await context.save({ begun: [...context.data.begun, name] });
        await hooks.onRun(name, context.signal, (doneBytes) =>
          context.reportProgress({ phase: name, doneBytes, totalBytes: 100 }),
        );
      },
      undo: (context) => hooks.onUndo(name, context.data.begun),
    })),
    onSucceeded: (tx, { job, at }) =>
      finishRequest(tx, { id: job.requestId, state: 'succeeded', failure: null, result: {}, at }),
    onFailed: (tx, { job, at, state, failure }) =>
      finishRequest(tx, { id: job.requestId, state, failure, result: null, at }),
  };
}
