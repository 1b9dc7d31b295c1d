import { createGuestRescue } from '../data-plane/hypervisor/libvirt/guest-rescue.ts';
import { startGuard } from '../guard/guard.ts';
import { systemClock } from '../shared/clock.ts';
import { describeThrown } from '../shared/errors.ts';
import { endOfProcess, reportReady, settingsFromParent, untilAborted } from './child-process.ts';
import { createPinoLogger } from './pino-logger.ts';

async function run(): Promise<void> {
  const settings = settingsFromParent();
  const { hypervisor } = settings;
  const end = endOfProcess();
  const logger = createPinoLogger({ name: 'guard', level: settings.logLevel });
  const rescue = createGuestRescue({
    logger,
    ...(hypervisor.kind === 'libvirt' && hypervisor.socketPath !== undefined
      ? { socketPath: hypervisor.socketPath }
      : {}),
    ...(hypervisor.kind === 'libvirt' && hypervisor.uri !== undefined
      ? { uri: hypervisor.uri }
      : {}),
  });
  const guard = await startGuard({
    socketPath: settings.guardSocketPath,
    rescue,
    clock: systemClock,
    logger,
  });
  reportReady({});
  await untilAborted(end);
  // The others may have been killed with whoever started this process: their guests come first.
  logger.info({ watched: guard.watched }, 'the guard ends when no guest is held');
  await guard.drain();
}

try {
  await run();
} catch (error) {
  process.stderr.write(`guard: ${describeThrown(error)}\n`);
  process.exitCode = 1;
}
// Exit without closing the socket: a guard that was started meanwhile may have its name by now.
process.exit();
