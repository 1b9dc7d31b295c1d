import { pino, type Logger as PinoLogger } from 'pino';
import type { LogFields, Logger } from '../shared/logger.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

const SECRET_FIELDS = ['secret', 'token', 'password', 'authorization', 'key', 'xml'];

/** JSON lines on the given stream; fields that could hold secrets are blanked wherever they are. */
export function createPinoLogger(options: {
  name: string;
  level: LogLevel;
  stream?: NodeJS.WritableStream;
}): Logger {
  const { name, level, stream = process.stderr } = options;
  const redact = {
    paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]),
    censor: '[redacted]',
  };
  const serializers = { error: pino.stdSerializers.errWithCause, cause: pino.stdSerializers.err };
  return wrap(pino({ name, level, redact, serializers }, stream));
}

const wrap = (inner: PinoLogger): Logger => ({
  debug: (fields, message) => inner.debug(fields, message),
  info: (fields, message) => inner.info(fields, message),
  warn: (fields, message) => inner.warn(fields, message),
  error: (fields, message) => inner.error(fields, message),
  child: (fields: LogFields) => wrap(inner.child(fields)),
});
