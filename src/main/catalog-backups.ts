import { mkdir, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { backUpCatalog } from '../control-plane/database/catalog-backup.ts';
import type { Clock } from '../shared/clock.ts';
import { describeThrown } from '../shared/errors.ts';
import type { Logger } from '../shared/logger.ts';

const NAME_PATTERN = /^catalog-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z\.sqlite$/;
const LOOK_INTERVAL_MS = 10 * 60 * 1000;

/** Sorts by age: `catalog-20260102T030405Z.sqlite`. */
export const backupNameAt = (now: Date): string =>
  `catalog-${now.toISOString().replaceAll(/[-:]|\.\d+/g, '')}.sqlite`;

const timeOf = (name: string): number | null => {
  const parts = NAME_PATTERN.exec(name);
  if (!parts) return null;
  const [, year, month, day, hour, minute, second] = parts;
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
};

export interface BackupPlan {
  readonly databasePath: string;
  readonly folder: string;
  readonly everyHours: number;
  readonly keep: number;
  readonly clock: Clock;
}

/** Backs the catalog up when the newest backup is old enough, then removes those beyond `keep`. */
export async function backUpWhenDue(plan: BackupPlan): Promise<string | null> {
  const { folder, clock, keep } = plan;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const names = (await readdir(folder)).filter((name) => timeOf(name) !== null).toSorted();
  const now = clock.now();
  const newestMs = timeOf(names.at(-1) ?? '');
  // A backup from the future, as a clock that jumped leaves it, counts for nothing.
  const isDue =
    newestMs === null ||
    newestMs > now.getTime() ||
    now.getTime() - newestMs >= plan.everyHours * 3_600_000;
  if (!isDue) return null;
  const target = path.join(folder, backupNameAt(now));
  await backUpCatalog({ databasePath: plan.databasePath, target });
  const kept = [...names, backupNameAt(now)].slice(-keep);
  for (const name of names) if (!kept.includes(name)) await rm(path.join(folder, name));
  return target;
}

/** Looks every few minutes; a backup that fails is logged and tried at the next look. */
export function startCatalogBackups(plan: BackupPlan, logger: Logger): { close(): Promise<void> } {
  let running: Promise<void> | undefined;
  const look = (): void => {
    running ??= backUpWhenDue(plan)
      .then((file) => {
        if (file !== null) logger.info({ file }, 'the catalog was backed up');
      })
      .catch((error: unknown) => {
        logger.error({ reason: describeThrown(error) }, 'the catalog could not be backed up');
      })
      .finally(() => {
        running = undefined;
      });
  };
  look();
  const timer = setInterval(look, LOOK_INTERVAL_MS);
  return {
    close: async () => {
      clearInterval(timer);
      await running;
    },
  };
}
