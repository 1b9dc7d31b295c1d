import { existsSync } from 'node:fs';
import { chmod, copyFile, link, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { backup, DatabaseSync } from 'node:sqlite';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { OperationError } from '../../shared/errors.ts';
import { migrations } from './migrate.ts';

/** So many pages at a time: a writer waits for no more than these. */
const PAGES_PER_STEP = 256;
const BUSY_TIMEOUT_MS = 5000;

/**
 * Copies the catalog while others use it, and checks the copy before it gets its name. Throws
 * `name_taken` when the target is there, `invalid_input` when there is no catalog to copy.
 */
export async function backUpCatalog(options: {
  readonly databasePath: string;
  readonly target: string;
}): Promise<void> {
  const { databasePath, target } = options;
  const draft = `${target}.new`;
  await rm(draft, { force: true });
  const source = openForReading(databasePath);
  try {
    await (await open(draft, 'wx', 0o600)).close();
    await backup(source, draft, { rate: PAGES_PER_STEP });
    checkCatalog(draft);
    await makeDurable(draft);
    await link(draft, target);
    await makeDurable(path.dirname(target));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') {
      throw new OperationError('name_taken', `${target} is there already; choose another name.`, {
        cause: error,
      });
    }
    throw error;
  } finally {
    source.close();
    await rm(draft, { force: true });
  }
}

/**
 * Puts a copy in the place of the catalog. The one that was there stays beside it under another
 * name, which is returned; null when there was none. Throws `invalid_input` for what is no whole
 * catalog of a version known here, `wrong_state` while anybody has the catalog open.
 */
export async function restoreCatalog(options: {
  readonly databasePath: string;
  readonly source: string;
  readonly now: Date;
}): Promise<string | null> {
  const { databasePath, source, now } = options;
  checkCatalog(source);
  const draft = `${databasePath}.new`;
  await copyFile(source, draft);
  await chmod(draft, 0o600);
  await makeDurable(draft);
  const aside = `${databasePath}.${now.toISOString().replaceAll(/[-:]|\.\d+/g, '')}`;
  const isReplacing = await setAside(databasePath, aside);
  await rename(draft, databasePath);
  await makeDurable(path.dirname(databasePath));
  return isReplacing ? aside : null;
}

/** A second name for the present catalog, so that there is one at every moment. */
async function setAside(databasePath: string, aside: string): Promise<boolean> {
  if (!existsSync(databasePath)) return false;
  requireUnused(databasePath);
  await link(databasePath, aside);
  return true;
}

/** In exclusive mode SQLite lets nobody else in; closing then brings the log into the file. */
function requireUnused(databasePath: string): void {
  const database = new DatabaseSync(databasePath, { timeout: 0 });
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT;');
    database.exec('PRAGMA wal_checkpoint(TRUNCATE);');
  } catch (error) {
    throw new OperationError(
      'wrong_state',
      `${databasePath} is in use. Stop Komadori, then restore the catalog.`,
      { cause: error },
    );
  } finally {
    database.close();
  }
}

const noCatalog = (file: string, reason: string, cause?: unknown): OperationError =>
  new OperationError('invalid_input', `${file} is not a whole catalog: ${reason}.`, { cause });

function openForReading(file: string | URL): DatabaseSync {
  try {
    return new DatabaseSync(file, { readOnly: true, timeout: BUSY_TIMEOUT_MS });
  } catch (error) {
    const name = typeof file === 'string' ? file : fileURLToPath(file);
    throw noCatalog(name, 'it cannot be opened', error);
  }
}

/** A copy that nobody writes to: SQLite then leaves no files of its own beside it. */
function openCopy(file: string): DatabaseSync {
  const url = pathToFileURL(file);
  url.searchParams.set('immutable', '1');
  return openForReading(url);
}

/** Throws `invalid_input`, or `catalog_too_new` for one that only a newer version understands. */
function checkCatalog(file: string): void {
  const database = openCopy(file);
  try {
    const damage = database.prepare('PRAGMA quick_check(1)').get();
    if (damage?.['quick_check'] !== 'ok') throw noCatalog(file, 'its pages are damaged');
    const version = Number(
      database.prepare('SELECT max(version) AS version FROM schema_migrations').get()?.['version'],
    );
    if (!(version >= 1)) throw noCatalog(file, 'it has no version');
    if (version > migrations.length) {
      throw new OperationError(
        'catalog_too_new',
        `${file} has version ${version}, and this Komadori knows versions up to ${migrations.length}. Use the newer Komadori that made it.`,
      );
    }
    database.prepare('SELECT count(*) FROM snapshots').get();
  } catch (error) {
    if (error instanceof OperationError) throw error;
    throw noCatalog(file, 'it holds something else', error);
  } finally {
    database.close();
  }
}

async function makeDurable(file: string): Promise<void> {
  const handle = await open(file, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
