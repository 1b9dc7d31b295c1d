import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { Command } from 'commander';
import type { CommandGroup, ProgramBase } from '../cli/program.ts';
import { openCatalog } from '../control-plane/database/catalog.ts';
import { backUpCatalog, restoreCatalog } from '../control-plane/database/catalog-backup.ts';
import { systemClock } from '../shared/clock.ts';
import { adoptBundles, type Adoption } from '../worker/adopt-bundles.ts';
import { backupNameAt } from './catalog-backups.ts';
import { readHostSettings } from './host-options.ts';
import { makeFolders, openExistingStore, readHostId } from './open-stores.ts';
import { createPinoLogger } from './pino-logger.ts';
import type { Settings } from './settings.ts';

/** What can be done about the catalog on the host itself, also while the service does not start. */
export const addCatalogCommands: CommandGroup = (program, base) => {
  const { text, terminal } = base;
  const withFolders = (command: Command): Command =>
    command
      .option('--config <file>', text('serve.config'))
      .option('--data <folder>', text('serve.data'));
  const catalog = program.command('catalog').description(text('catalog.description'));
  withFolders(catalog.command('backup').description(text('catalog.backup')))
    .argument('[file]', text('catalog.backupFile'))
    .action(async (file: string | undefined, options: unknown) => {
      const settings = await readHostSettings(options);
      const target = path.resolve(
        file ?? path.join(settings.catalogBackups.folder, backupNameAt(systemClock.now())),
      );
      await mkdir(path.dirname(target), { recursive: true, mode: 0o700 });
      await backUpCatalog({ databasePath: settings.databasePath, target });
      terminal.output.write(`${text('catalog.backedUp', { file: target })}\n`);
    });
  withFolders(catalog.command('restore').description(text('catalog.restore')))
    .argument('<file>', text('catalog.restoreFile'))
    .action(async (file: string, options: unknown) => {
      const settings = await readHostSettings(options);
      const { databasePath } = settings;
      const aside = await restoreCatalog({
        databasePath,
        source: path.resolve(file),
        now: systemClock.now(),
      });
      terminal.output.write(`${text('catalog.restored', { file, database: databasePath })}\n`);
      if (aside !== null) terminal.output.write(`${text('catalog.setAside', { file: aside })}\n`);
      await adopt(settings, base);
    });
  const repository = program.commands.find((command) => command.name() === 'repository');
  if (!repository) throw new Error('the commands of the repository are added before these');
  withFolders(
    repository.command('rebuild-catalog').description(text('repository.rebuildCatalog')),
  ).action(async (options: unknown) => await adopt(await readHostSettings(options), base));
};

async function adopt(settings: Settings, { terminal, text }: ProgramBase): Promise<void> {
  const logger = createPinoLogger({ name: 'rebuild-catalog', level: 'warn' });
  // Before the catalog is made: a repository that is not there must not leave an empty one behind.
  const repository = await openExistingStore(settings, logger);
  try {
    if (!existsSync(settings.databasePath)) await makeFolders(settings);
    const catalog = await openCatalog({ path: settings.databasePath });
    try {
      const hostId = await readHostId(settings);
      const parts = { catalog, repository, hostId, clock: systemClock };
      for (const line of describeAdoption(await adoptBundles(parts, terminal.signal), text))
        terminal.output.write(`${line}\n`);
    } finally {
      await catalog.close();
    }
  } finally {
    await repository.close();
  }
}

const describeAdoption = (
  { adopted, lost, unreadable }: Adoption,
  text: ProgramBase['text'],
): string[] => [
  ...adopted.map(({ name, vm, id }) => text('catalog.adopted', { name, vm, id })),
  ...lost.map(({ name, vm, id }) => text('catalog.lost', { name, vm, id })),
  ...unreadable.map(({ id, reason }) => text('catalog.unreadable', { id, reason })),
  text('catalog.summary', {
    adopted: String(adopted.length),
    lost: String(lost.length),
    unreadable: String(unreadable.length),
  }),
];
