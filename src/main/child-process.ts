import { OperationError } from '../shared/errors.ts';
import { settingsSchema, type Settings } from './settings.ts';

const SETTINGS_VARIABLE = 'KOMADORI_SETTINGS';

export const settingsForChild = (settings: Settings): Record<string, string> => ({
  [SETTINGS_VARIABLE]: JSON.stringify(settings),
});

/** The settings that `komadori serve` gave to this process. */
export function settingsFromParent(): Settings {
  const text = process.env[SETTINGS_VARIABLE];
  if (text === undefined) {
    throw new OperationError(
      'invalid_input',
      'This process is started by «komadori serve», not by hand.',
    );
  }
  return settingsSchema.parse(JSON.parse(text));
}

/** Aborts when this process is asked to end, or when the one that started it is gone. */
export function endOfProcess(): AbortSignal {
  const end = new AbortController();
  const finish = (): void => end.abort();
  process.once('SIGTERM', finish);
  process.once('SIGINT', finish);
  process.once('disconnect', finish);
  return end.signal;
}

export async function untilAborted(signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** Tells the parent that this process does its work now. */
export function reportReady(details: Record<string, string>): void {
  process.send?.({ ready: true, ...details });
}
