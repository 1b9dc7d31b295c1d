import { OperationError } from '../../../shared/errors.ts';
import type { PausePhase } from '../driver.ts';
import { waitFor } from '../../../shared/waiting.ts';
import type { CapturePhase } from './faults.ts';
import type { SimulationContext } from './simulation-context.ts';

/** A simulated hang outside the pause ends when the capture is cancelled, at the latest after this. */
const HANG_MAX_MS = 10 * 60_000;

/** Lets the faults happen that are armed for this phase of a capture. */
export async function passPhase(
  context: SimulationContext,
  vmId: string,
  phase: CapturePhase,
  limits: { deadlineMs: number; signal: AbortSignal | undefined },
): Promise<void> {
  const { store } = context;
  const isHere = (fault: { phase: CapturePhase }): boolean => fault.phase === phase;
  if (store.takeFault('capture_kills_process', vmId, isHere)) process.kill(process.pid, 'SIGKILL');
  if (store.takeFault('capture_fails', vmId, isHere)) {
    throw new OperationError('hypervisor_failed', `The simulated capture failed ${phase}.`);
  }
  if (store.takeFault('capture_hangs', vmId, isHere)) {
    await hang(`The simulated capture, ${phase},`, {
      timeoutMs: phase === 'in_pause' ? limits.deadlineMs : HANG_MAX_MS,
      signal: limits.signal,
    });
  }
}

/** Never succeeds. */
export async function hang(
  what: string,
  options: { timeoutMs: number; signal?: AbortSignal | undefined },
): Promise<void> {
  await waitFor(new Promise<never>(() => undefined), { ...options, what });
}

export function createPhaseTimer(nowMs: () => number): {
  readonly phases: PausePhase[];
  run<T>(name: string, work: () => T | Promise<T>): Promise<T>;
} {
  const phases: PausePhase[] = [];
  return {
    phases,
    async run(name, work) {
      const startedMs = nowMs();
      try {
        return await work();
      } finally {
        phases.push({ name, durationMs: nowMs() - startedMs });
      }
    },
  };
}
