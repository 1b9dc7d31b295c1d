import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { RATE_LIMITS } from '../control-plane/http/identify.ts';
import { describeThrown } from '../shared/errors.ts';
import { systemClock } from '../shared/clock.ts';
import { startCatalogBackups } from './catalog-backups.ts';
import { endOfProcess, reportReady, settingsFromParent, untilAborted } from './child-process.ts';
import { createPinoLogger } from './pino-logger.ts';
import { startServer, type ServerOptions } from './server.ts';
import type { Settings } from './settings.ts';

/** Where `npm run build` puts it. */
const DASHBOARD_FOLDER = path.resolve(import.meta.dirname, '../../dist/dashboard');

async function auditReceiverOf(settings: Settings): Promise<Pick<ServerOptions, 'auditReceiver'>> {
  const { auditForwarding } = settings;
  if (!auditForwarding) return {};
  const { host, port, tls, caFile } = auditForwarding;
  const ca = caFile === undefined ? undefined : await readFile(caFile, 'utf8');
  return { auditReceiver: { host, port, tls: tls ? { ca } : null } };
}

async function run(): Promise<void> {
  const settings = settingsFromParent();
  const end = endOfProcess();
  const logger = createPinoLogger({ name: 'server', level: settings.logLevel });
  const server = await startServer({
    databasePath: settings.databasePath,
    listen: settings.listen,
    logger,
    firstTokenFile: settings.adminTokenPath,
    trustedProxies: settings.listen.trustedProxies,
    ...(settings.listen.tls && { tls: settings.listen.tls }),
    ...(await auditReceiverOf(settings)),
    signIn: {
      sessionLifetimes: {
        idleMs: settings.session.idleMinutes * 60_000,
        absoluteMs: settings.session.absoluteHours * 3600_000,
      },
    },
    rateLimits: { ...RATE_LIMITS, perTokenAndMinute: settings.callsPerTokenAndMinute },
    ...(existsSync(DASHBOARD_FOLDER) && { dashboardFolder: DASHBOARD_FOLDER }),
  });
  const backups = startCatalogBackups(
    { ...settings.catalogBackups, databasePath: settings.databasePath, clock: systemClock },
    logger,
  );
  reportReady({ url: server.url });
  await untilAborted(end);
  await backups.close();
  await server.close();
}

try {
  await run();
} catch (error) {
  process.stderr.write(`server: ${describeThrown(error)}\n`);
  process.exitCode = 1;
}
process.exit();
