import { readFile } from 'node:fs/promises';
import { BlockList, isIP, isIPv6 } from 'node:net';
import path from 'node:path';
import { z } from 'zod';
import { GIB, MIB } from '../shared/byte-size.ts';
import { OperationError, describeThrown } from '../shared/errors.ts';

export const DEFAULT_DATA_FOLDER = '/var/lib/komadori';
export const DEFAULT_CONFIG_PATH = '/etc/komadori/komadori.json';

const absolutePath = z
  .string()
  .max(4096)
  .refine((value) => path.isAbsolute(value), 'must be an absolute path');

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

const networkSchema = z.union([z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()]);

/** The configuration file; every key may be left out. docs/operations/configuration.md explains each. */
export const configFileSchema = z.strictObject({
  dataFolder: absolutePath.default(DEFAULT_DATA_FOLDER),
  listen: z
    .strictObject({
      host: z.string().default('127.0.0.1'),
      port: z.int().min(0).max(65_535).default(8470),
      trustedProxies: z.array(networkSchema).max(64).default([]),
      tls: z.strictObject({ certFile: absolutePath, keyFile: absolutePath }).optional(),
      /** True lets passwords and tokens cross a network that is trusted for other reasons. */
      allowPlainHttp: z.boolean().default(false),
    })
    .prefault({}),
  session: z
    .strictObject({
      idleMinutes: z.int().min(1).max(1440).default(60),
      absoluteHours: z.int().min(1).max(720).default(12),
    })
    .prefault({}),
  hypervisor: z
    .discriminatedUnion('kind', [
      z.strictObject({
        kind: z.literal('libvirt'),
        socketPath: absolutePath.optional(),
        uri: z.string().optional(),
      }),
      z.strictObject({ kind: z.literal('simulated'), vms: z.int().min(0).max(10_000).default(12) }),
    ])
    .default({ kind: 'libvirt' }),
  repository: z
    .strictObject({
      folder: absolutePath.optional(),
      encrypted: z.boolean().default(true),
      keyFile: absolutePath.optional(),
      /** A file that holds a passphrase, instead of a key file. */
      passphraseFile: absolutePath.optional(),
    })
    .prefault({}),
  scratchFolder: absolutePath.optional(),
  imageFolder: absolutePath.default('/var/lib/libvirt/images'),
  exportFolders: z.array(absolutePath).default([]),
  scratchFloorBytes: z.int().min(0).default(GIB),
  repositoryFloorBytes: z
    .int()
    .min(0)
    .default(512 * MIB),
  /** False captures without the process that lets a guest go when the worker dies: for tests only. */
  guard: z.boolean().default(true),
  freezeDeadlineMs: z.int().min(100).max(600_000).default(10_000),
  callsPerTokenAndMinute: z.int().min(60).max(1_000_000).default(1200),
  /** Sends the audit trail also to a syslog receiver. */
  auditForwarding: z
    .strictObject({
      host: z.string().min(1).max(253),
      port: z.int().min(1).max(65_535).default(6514),
      tls: z.boolean().default(true),
      caFile: absolutePath.optional(),
    })
    .optional(),
  jobsAtOnce: z.int().min(1).max(64).default(2),
  catalogBackups: z
    .strictObject({
      folder: absolutePath.optional(),
      everyHours: z.int().min(1).max(8760).default(24),
      keep: z.int().min(1).max(1000).default(7),
    })
    .prefault({}),
  logLevel: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
});

export type ConfigFile = z.infer<typeof configFileSchema>;

/** Everything that the processes need, with all paths resolved. Holds no secret. */
export const settingsSchema = configFileSchema.extend({
  databasePath: absolutePath,
  indexPath: absolutePath,
  adminTokenPath: absolutePath,
  hostIdPath: absolutePath,
  guardSocketPath: absolutePath,
  runtimeFolder: absolutePath,
  scratchFolder: absolutePath,
  simulationFolder: absolutePath,
  catalogBackups: z.strictObject({
    folder: absolutePath,
    everyHours: z.int(),
    keep: z.int(),
  }),
  repository: z.strictObject({
    folder: absolutePath,
    encrypted: z.boolean(),
    keyFile: absolutePath,
    passphraseFile: absolutePath.nullable(),
  }),
});
export type Settings = z.infer<typeof settingsSchema>;

export interface SettingsOverrides {
  readonly configPath?: string | undefined;
  readonly dataFolder?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly simulated?: boolean | undefined;
}

/** Reads the configuration file (its absence is fine unless it was named) and applies command line options. */
export async function loadSettings(overrides: SettingsOverrides): Promise<Settings> {
  const file = await readConfigFile(overrides.configPath);
  const config = parseConfig(
    {
      ...file.content,
      ...(overrides.dataFolder === undefined
        ? {}
        : { dataFolder: path.resolve(overrides.dataFolder) }),
      ...(overrides.simulated ? { hypervisor: { kind: 'simulated' } } : {}),
    },
    file.path,
  );
  const listen = {
    ...config.listen,
    host: overrides.host ?? config.listen.host,
    port: overrides.port ?? config.listen.port,
  };
  requireSafeListening(listen);
  return resolveSettings({ ...config, listen });
}

/** Passwords and tokens must not be readable on the way. */
function requireSafeListening({ host, tls, allowPlainHttp }: ConfigFile['listen']): void {
  const isLoopback =
    host === 'localhost' ||
    (isIP(host) !== 0 && LOOPBACK.check(host, isIPv6(host) ? 'ipv6' : 'ipv4'));
  if (isLoopback || tls || allowPlainHttp) return;
  throw new OperationError(
    'invalid_input',
    `Plain HTTP on ${host} would show passwords and tokens to the network. Set listen.tls, or listen on 127.0.0.1 behind a proxy that speaks TLS; listen.allowPlainHttp overrides this.`,
  );
}

function resolveSettings(config: ConfigFile): Settings {
  const inData = (name: string): string => path.join(config.dataFolder, name);
  return {
    ...config,
    databasePath: inData('catalog.sqlite'),
    indexPath: inData('chunk-index.sqlite'),
    adminTokenPath: inData('admin-token'),
    hostIdPath: inData('host-id'),
    guardSocketPath: inData('guard.sock'),
    runtimeFolder: inData('run'),
    scratchFolder: config.scratchFolder ?? inData('scratch'),
    simulationFolder: inData('simulation'),
    catalogBackups: {
      ...config.catalogBackups,
      folder: config.catalogBackups.folder ?? inData('catalog-backups'),
    },
    exportFolders: config.exportFolders.length > 0 ? config.exportFolders : [inData('exports')],
    repository: {
      folder: config.repository.folder ?? inData('repository'),
      encrypted: config.repository.encrypted,
      keyFile: config.repository.keyFile ?? inData('repository.key'),
      passphraseFile: config.repository.passphraseFile ?? null,
    },
  };
}

async function readConfigFile(
  named: string | undefined,
): Promise<{ path: string; content: object }> {
  const configPath = named ?? DEFAULT_CONFIG_PATH;
  let text: string;
  try {
    text = await readFile(configPath, 'utf8');
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (isMissing && named === undefined) return { path: configPath, content: {} };
    throw new OperationError(
      'invalid_input',
      `The configuration ${configPath} cannot be read: ${describeThrown(error)}`,
      {
        cause: error,
      },
    );
  }
  try {
    return { path: configPath, content: z.looseObject({}).parse(JSON.parse(text)) };
  } catch (error) {
    throw new OperationError(
      'invalid_input',
      `The configuration ${configPath} is not a JSON object: ${describeThrown(error)}`,
      {
        cause: error,
      },
    );
  }
}

function parseConfig(content: object, configPath: string): ConfigFile {
  const parsed = configFileSchema.safeParse(content);
  if (parsed.success) return parsed.data;
  throw new OperationError(
    'invalid_input',
    `The configuration ${configPath} is wrong:\n${z.prettifyError(parsed.error)}`,
  );
}
