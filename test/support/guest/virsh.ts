import { runCommand, tryCommand, type CommandResult } from '../../../scripts/setup/run-command.ts';

const CONNECTION = ['--connect', 'qemu:///system', '--quiet'];

/** Asks libvirt's own client, so that tests see a VM through other eyes than the product's. */
export async function runVirsh(args: readonly string[], timeoutMs = 60_000): Promise<string> {
  return (await runCommand('virsh', [...CONNECTION, ...args], { timeoutMs })).trim();
}

export async function tryVirsh(
  args: readonly string[],
  timeoutMs = 60_000,
): Promise<CommandResult> {
  return await tryCommand('virsh', [...CONNECTION, ...args], { timeoutMs });
}

/** One command of the guest agent's own protocol; returns what the agent returned. */
export async function askAgent(
  name: string,
  command: string,
  options: { arguments?: Record<string, unknown>; timeoutMs?: number } = {},
): Promise<unknown> {
  const timeoutMs = options.timeoutMs ?? 10_000;
  const request = { execute: command, ...(options.arguments && { arguments: options.arguments }) };
  const seconds = String(Math.max(1, Math.ceil(timeoutMs / 1000)));
  const answer: unknown = JSON.parse(
    await runVirsh(
      ['qemu-agent-command', '--timeout', seconds, name, JSON.stringify(request)],
      timeoutMs + 5000,
    ),
  );
  if (typeof answer !== 'object' || answer === null || !('return' in answer)) {
    throw new Error(`the agent of ${name} answered ${JSON.stringify(answer)}`);
  }
  return answer.return;
}
