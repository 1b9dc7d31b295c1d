import { rename, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { Server } from 'node:https';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { forwardAudit, type SyslogReceiver } from '../control-plane/audit/forward-audit.ts';
import { openCatalog } from '../control-plane/database/catalog.ts';
import { createServer } from '../control-plane/http/create-server.ts';
import type { RateLimits } from '../control-plane/http/identify.ts';
import {
  createSignInSettings,
  type Environment,
  type SignInSettings,
} from '../control-plane/operations/environment.ts';
import { startMaintenance } from '../control-plane/operations/maintenance.ts';
import { firstStart } from '../control-plane/operations/tokens.ts';
import { systemClock, type Clock } from '../shared/clock.ts';
import { describeThrown } from '../shared/errors.ts';
import type { Logger } from '../shared/logger.ts';
import packageDescription from '../../package.json' with { type: 'json' };
import { createPinoLogger } from './pino-logger.ts';
import { keepTlsCurrent, readTlsFiles, TLS_MIN_VERSION, type TlsFiles } from './tls-files.ts';

export interface ServerOptions {
  readonly databasePath: string;
  /** Port 0 takes a free one. */
  readonly listen?: { readonly host: string; readonly port: number };
  /** Without them it speaks plain HTTP. */
  readonly tls?: TlsFiles;
  readonly logger: Logger;
  readonly clock?: Clock;
  /** On the first start the administrator's token is written here, for its owner only. */
  readonly firstTokenFile?: string;
  /** The built dashboard; without it only the API is served. */
  readonly dashboardFolder?: string;
  readonly rateLimits?: RateLimits;
  /** Proxies whose word on address, host and protocol of a browser is believed. */
  readonly trustedProxies?: readonly string[];
  /** Where audit events are also sent. */
  readonly auditReceiver?: SyslogReceiver;
  readonly signIn?: Partial<SignInSettings>;
}

export interface RunningServer {
  readonly url: string;
  /** Only on the first start, and nowhere else: show it once. */
  readonly firstToken: string | undefined;
  /** Answers what is under way, then ends. */
  close(): Promise<void>;
}

/** For answers under way; a connection that never asked anything counts as one for Node. */
const CLOSE_GRACE_MS = 3_000;
const LISTEN_DEFAULT = { host: '127.0.0.1', port: 8470 };

export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { databasePath, logger, clock = systemClock, listen = LISTEN_DEFAULT } = options;
  const keys = options.tls ? await readTlsFiles(options.tls) : null;
  const catalog = await openCatalog({ path: databasePath, clock });
  const environment: Environment = {
    catalog,
    clock,
    logger,
    version: packageDescription.version,
    signIn: createSignInSettings(options.signIn),
  };
  const { dashboardFolder, rateLimits, trustedProxies } = options;
  const app = await createServer({
    environment,
    ...(dashboardFolder !== undefined && { dashboardFolder }),
    ...(rateLimits !== undefined && { rateLimits }),
    ...(trustedProxies !== undefined && { trustedProxies }),
    ...(keys && { tls: { ...keys, minVersion: TLS_MIN_VERSION } }),
  });
  try {
    const address = await app.listen({ host: listen.host, port: listen.port });
    const url = keys ? address.replace(/^http:/, 'https:') : address;
    let firstToken: string | undefined;
    await firstStart(environment, async (secret) => {
      firstToken = secret;
      if (options.firstTokenFile !== undefined)
        await writePrivateFile(options.firstTokenFile, `${secret}\n`);
    });
    const maintenance = startMaintenance(environment);
    const { tls } = options;
    const renewal =
      tls && keys && app.server instanceof Server
        ? keepTlsCurrent(app.server, tls, { keys, logger })
        : null;
    const forwarding = startForwarding(environment, options.auditReceiver);
    logger.info({ url, databasePath }, 'server listens');
    return {
      url,
      firstToken,
      close: async () => {
        const cut = setTimeout(() => app.server.closeAllConnections(), CLOSE_GRACE_MS);
        await app.close();
        clearTimeout(cut);
        renewal?.close();
        await maintenance.close();
        await forwarding.close();
        await catalog.close();
      },
    };
  } catch (error) {
    await app.close();
    await catalog.close();
    throw error;
  }
}

function startForwarding(
  { catalog, logger }: Environment,
  receiver: SyslogReceiver | undefined,
): { close(): Promise<void> } {
  const stop = new AbortController();
  const done = receiver
    ? forwardAudit({ catalog, receiver, hostname: hostname(), logger, signal: stop.signal })
    : Promise.resolve();
  return {
    close: async () => {
      stop.abort();
      await done;
    },
  };
}

/** Never readable by others, not even for a moment, nor half written. */
async function writePrivateFile(file: string, text: string): Promise<void> {
  const draft = `${file}.${process.pid}.new`;
  await writeFile(draft, text, { mode: 0o600, flag: 'wx', flush: true });
  await rename(draft, file);
}

const argumentsSchema = z.object({
  database: z.string().min(1),
  host: z.string().default(LISTEN_DEFAULT.host),
  port: z.coerce.number().int().min(0).max(65_535).default(LISTEN_DEFAULT.port),
  'first-token-file': z.string().optional(),
  'log-level': z.enum(['debug', 'info', 'warn', 'error']).default('info'),
});

async function runAsProcess(): Promise<void> {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    options: {
      database: text,
      host: text,
      port: text,
      'first-token-file': text,
      'log-level': text,
    },
  });
  const settings = argumentsSchema.parse(values);
  const file = settings['first-token-file'];
  const server = await startServer({
    databasePath: settings.database,
    listen: { host: settings.host, port: settings.port },
    logger: createPinoLogger({ name: 'server', level: settings['log-level'] }),
    ...(file !== undefined && { firstTokenFile: file }),
  });
  // One line for whoever started us, the secret on it only when no file was asked for.
  const firstToken = file === undefined ? server.firstToken : undefined;
  process.stdout.write(`${JSON.stringify({ url: server.url, firstToken })}\n`);
  const stop = (): void => {
    server.close().catch((error: unknown) => {
      console.error(`The server did not shut down cleanly: ${describeThrown(error)}`);
      process.exitCode = 1;
    });
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
}

if (import.meta.main) {
  runAsProcess().catch((error: unknown) => {
    console.error(describeThrown(error));
    process.exitCode = 1;
  });
}
