import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { z } from 'zod';
import type { CommandGroup } from '../cli/program.ts';
import { createDirectoryStorage } from '../data-plane/blob-storage/directory/directory-storage.ts';
import { restoreKeyFile } from '../data-plane/chunk-repository/restore-key.ts';
import { addCatalogCommands } from './catalog-commands.ts';
import { startService } from './serve.ts';
import { createPinoLogger } from './pino-logger.ts';
import { hostOptionsSchema, readHostSettings } from './host-options.ts';
import { makeFolders, openStore } from './open-stores.ts';
import type { Settings } from './settings.ts';

/** The commands that run on the host itself, without the API. */
export const addHostCommands: CommandGroup = (program, base) => {
  program
    .command('serve')
    .description(base.text('serve.description'))
    .option('--config <file>', base.text('serve.config'))
    .option('--data <folder>', base.text('serve.data'))
    .option('--host <address>', base.text('serve.host'))
    .option('--port <number>', base.text('serve.port'))
    .option('--simulated', base.text('serve.simulated'))
    .action(async (options: unknown) => await serve(await readHostSettings(options), base));
  program
    .command('recovery-sheet')
    .description(base.text('recovery.description'))
    .option('--config <file>', base.text('serve.config'))
    .option('--data <folder>', base.text('serve.data'))
    .action(async (options: unknown) => {
      const settings = await readHostSettings(options);
      const logger = createPinoLogger({ name: 'recovery-sheet', level: 'warn' });
      const { repository } = await openStore(settings, logger);
      base.terminal.output.write(`${repository.recoverySheet()}\n`);
      await repository.close();
    });
  addRestoreKey(program, base);
  addCatalogCommands(program, base);
};

function addRestoreKey(program: Command, base: Base): void {
  program
    .command('restore-key')
    .description(base.text('restoreKey.description'))
    .requiredOption('--sheet <file>', base.text('restoreKey.sheet'))
    .option('--config <file>', base.text('serve.config'))
    .option('--data <folder>', base.text('serve.data'))
    .action(async (options: unknown) => {
      const { sheet, ...rest } = hostOptionsSchema.extend({ sheet: z.string() }).parse(options);
      const settings = await readHostSettings(rest);
      const keyPath = settings.repository.keyFile;
      const { repositoryId } = await restoreKeyFile({
        storage: await createDirectoryStorage(settings.repository.folder),
        indexPath: settings.indexPath,
        sheet: await readFile(sheet, 'utf8'),
        keyPath,
      });
      base.terminal.output.write(
        `${base.text('restoreKey.done', { repository: repositoryId, key: keyPath })}\n`,
      );
    });
}

type Base = Parameters<CommandGroup>[1];

async function serve(settings: Settings, base: Base): Promise<void> {
  const { output } = base.terminal;
  const logger = createPinoLogger({ name: 'serve', level: settings.logLevel });
  await makeFolders(settings);
  const { repository, isNew } = await openStore(settings, logger);
  if (isNew) {
    output.write(
      `${base.text('serve.newRepository', { folder: settings.repository.folder, key: settings.repository.keyFile })}\n`,
    );
  }
  await repository.close();
  const service = await startService(settings, logger);
  output.write(
    `${base.text('serve.listening', { url: service.url, token: settings.adminTokenPath })}\n`,
  );
  const end = Promise.withResolvers<null>();
  process.once('SIGTERM', () => end.resolve(null));
  if (base.terminal.signal.aborted) end.resolve(null);
  base.terminal.signal.addEventListener('abort', () => end.resolve(null), { once: true });
  const failure = await Promise.race([service.failed, end.promise]);
  await service.stop();
  if (failure) throw failure;
}
