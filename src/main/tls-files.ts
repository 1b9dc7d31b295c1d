import { readFile } from 'node:fs/promises';
import type { Server } from 'node:https';
import { createSecureContext } from 'node:tls';
import { OperationError, describeThrown } from '../shared/errors.ts';
import type { Logger } from '../shared/logger.ts';

export interface TlsFiles {
  /** PEM: the certificate, then those that vouch for it. */
  readonly certFile: string;
  readonly keyFile: string;
}

export interface TlsKeys {
  readonly cert: string;
  readonly key: string;
}

export const TLS_MIN_VERSION = 'TLSv1.2';
/** Certificates are renewed days before they end. */
const LOOK_INTERVAL_MS = 10 * 60 * 1000;

/** Throws `invalid_input` when a file cannot be read, or the two do not belong together. */
export async function readTlsFiles({ certFile, keyFile }: TlsFiles): Promise<TlsKeys> {
  try {
    const keys = {
      cert: await readFile(certFile, 'utf8'),
      key: await readFile(keyFile, 'utf8'),
    };
    createSecureContext({ ...keys, minVersion: TLS_MIN_VERSION });
    return keys;
  } catch (error) {
    throw new OperationError(
      'invalid_input',
      `The certificate ${certFile} with the key ${keyFile} cannot be used: ${describeThrown(error)}`,
      { cause: error },
    );
  }
}

/** Takes up the files when they are renewed; connections that are open keep what they have. */
export async function renewTls(
  server: Pick<Server, 'setSecureContext'>,
  files: TlsFiles,
  current: TlsKeys,
): Promise<TlsKeys> {
  const keys = await readTlsFiles(files);
  if (keys.cert === current.cert && keys.key === current.key) return current;
  server.setSecureContext({ ...keys, minVersion: TLS_MIN_VERSION });
  return keys;
}

/** Looks for renewed files every few minutes; with files that cannot be used the old ones stay. */
export function keepTlsCurrent(
  server: Pick<Server, 'setSecureContext'>,
  files: TlsFiles,
  options: { readonly keys: TlsKeys; readonly logger: Logger },
): { close(): void } {
  let { keys } = options;
  const timer = setInterval(() => {
    renewTls(server, files, keys).then(
      (renewed) => {
        if (renewed !== keys) options.logger.info({ file: files.certFile }, 'new certificate');
        keys = renewed;
      },
      (error: unknown) =>
        options.logger.error({ reason: describeThrown(error) }, 'the certificate is not renewed'),
    );
  }, LOOK_INTERVAL_MS);
  return { close: () => clearInterval(timer) };
}
