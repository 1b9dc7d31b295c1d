import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Job } from '../../../src/contract/jobs.ts';
import { captureFolderFor } from '../../../src/data-plane/hypervisor/libvirt/capture-folder.ts';
import type { TestService } from './start-service.ts';
import { waitUntil } from './wait-until.ts';

const TIMEOUT_MS = 240_000;
const POLL_MS = 10;

/** Resolves with the job as soon as that step began, or when the job is over without us having seen it. */
export async function waitForStep(
  service: TestService,
  requestId: string,
  step: string,
): Promise<Job> {
  const { client } = service;
  const jobId = await waitUntil(
    `A job for request ${requestId}`,
    async () => (await client.call('requestGet', { params: { id: requestId } })).jobId ?? undefined,
  );
  const deadline = performance.now() + TIMEOUT_MS;
  for (;;) {
    const job = await client.call('jobGet', { params: { id: jobId } });
    const state = job.steps.find(({ name }) => name === step)?.state ?? 'waiting';
    if (state !== 'waiting' || job.finishedAt !== null) return job;
    if (performance.now() > deadline) throw new Error(`the step «${step}» did not begin`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

export interface SuspensionWatch {
  /** Resolves within milliseconds of the guest's standing still. */
  readonly suspended: Promise<void>;
  stop(): Promise<void>;
}

/** Follows libvirt's own events, because a guest stands still for too short a time to be asked about. */
export async function watchSuspension(vmName: string): Promise<SuspensionWatch> {
  const args = ['-oL', 'virsh', '--connect', 'qemu:///system', 'event', '--loop'];
  const child = spawn('stdbuf', [...args, '--domain', vmName, '--event', 'lifecycle'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  const suspended = Promise.withResolvers<void>();
  let seen = '';
  child.stdout.on('data', (bytes: Buffer) => {
    seen = (seen + bytes.toString('utf8')).slice(-4096);
    if (/Suspended/.test(seen)) suspended.resolve();
  });
  child.once('error', (error) => suspended.reject(error));
  // Nobody may wait for it in a test that has failed by then.
  suspended.promise.catch(() => undefined);
  await once(child, 'spawn');
  return {
    suspended: suspended.promise,
    async stop() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** Resolves when a VM's memory is on its way to it. */
export async function waitForResume(vmId: string): Promise<void> {
  const fifo = path.join(captureFolderFor(`resume-${vmId}`).path, 'memory.fifo');
  await waitUntil(
    'The handing over of the memory',
    async () => await Promise.resolve(existsSync(fifo) ? true : undefined),
  );
}
