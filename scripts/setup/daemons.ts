import { existsSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { requireRoot } from './packages.ts';
import { runCommand, say, SetupError, tryCommand } from './run-command.ts';

export const LIBVIRT_SOCKET = '/run/libvirt/libvirt-sock';
const VIRTLOGD_SOCKET = '/run/libvirt/virtlogd-sock';
const START_TIMEOUT_MS = 30_000;
const CONNECT_TIMEOUT_MS = 5000;
const RETRY_MS = 100;

export type DaemonPlan = 'nothing' | 'systemd' | 'by-hand';

/** Who has to start libvirt: nobody, the service manager, or we ourselves. */
export function planDaemons(machine: { answers: boolean; serviceManager: boolean }): DaemonPlan {
  if (machine.answers) return 'nothing';
  return machine.serviceManager ? 'systemd' : 'by-hand';
}

/** Makes `qemu:///system` answer; daemons that run already are left as they are. */
export async function ensureLibvirt(options: { hideKvm: boolean }): Promise<void> {
  const answers = await accepts(LIBVIRT_SOCKET);
  const plan = planDaemons({ answers, serviceManager: isSystemdRunning() });
  if (plan === 'nothing') return;
  requireRoot('start libvirt');
  if (plan === 'systemd') {
    say('starting libvirtd (systemctl start libvirtd)');
    await runCommand('systemctl', ['start', 'libvirtd'], { timeoutMs: START_TIMEOUT_MS * 2 });
  } else {
    await startByHand(options.hideKvm);
  }
  await waitForSocket(LIBVIRT_SOCKET);
}

async function startByHand(hideKvm: boolean): Promise<void> {
  // Every VM's console goes through virtlogd: without it no VM starts.
  if (!(await accepts(VIRTLOGD_SOCKET))) {
    say('starting virtlogd; it stays running (stop it with: kill $(cat /run/virtlogd.pid))');
    await runCommand('virtlogd', ['-d']);
    await waitForSocket(VIRTLOGD_SOCKET);
  }
  say('starting libvirtd; it stays running (stop it with: kill $(cat /run/libvirtd.pid))');
  if (hideKvm && existsSync('/dev/kvm')) {
    say('hiding /dev/kvm from it, because guests do not run with it here');
    const script = 'mount --bind /dev/null /dev/kvm && exec libvirtd -d';
    const hidden = await tryCommand('unshare', ['--mount', 'sh', '-c', script]);
    if (hidden.exitCode === 0) return;
    say(`that is not permitted (${hidden.stderr.trim()}); VMs will start slowly`);
  }
  await runCommand('libvirtd', ['-d']);
}

function isSystemdRunning(): boolean {
  return readFileSync('/proc/1/comm', 'utf8').trim() === 'systemd';
}

async function waitForSocket(socketPath: string): Promise<void> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!(await accepts(socketPath))) {
    if (performance.now() > deadline) {
      throw new SetupError(
        `${socketPath} did not answer within ${START_TIMEOUT_MS / 1000} s; the system log says why libvirt does not start.`,
      );
    }
    await delay(RETRY_MS);
  }
}

async function accepts(socketPath: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(socketPath);
    const finish = (answer: boolean) => (): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, finish(false));
    socket.once('connect', finish(true));
    socket.once('error', finish(false));
  });
}
