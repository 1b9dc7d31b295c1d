import { formatBytes, formatDuration } from '../shared/byte-size.ts';
import { OperationError } from '../shared/errors.ts';
import type { Translate } from './translate.ts';

const NONE = '-';

/** Local time, to the minute: `2026-03-01 09:30`. */
export function formatTime(time: string | null): string {
  if (time === null) return NONE;
  const date = new Date(time);
  const two = (part: number): string => String(part).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** To the second, with the zone: `2026-03-01 09:30:00 +09:00`. */
export function formatExactTime(time: string | null): string {
  if (time === null) return NONE;
  const date = new Date(time);
  const two = (part: number): string => String(part).padStart(2, '0');
  const offset = -date.getTimezoneOffset();
  const zone = `${offset < 0 ? '-' : '+'}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
  return `${formatTime(time)}:${two(date.getSeconds())} ${zone}`;
}

export const formatSize = (bytes: number | null | undefined): string =>
  bytes === null || bytes === undefined ? NONE : formatBytes(bytes);

export const formatPause = (durationMs: number | null): string =>
  durationMs === null ? NONE : formatDuration(durationMs);

export const formatLabels = (labels: Readonly<Record<string, string>>): string =>
  Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(', ');

export const orNone = (text: string | null | undefined): string => text || NONE;

const UNIT_MS: Readonly<Record<string, number>> = {
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

/** `7d`, a date, or `none`; null is "never". */
export function parseExpiry(value: string, now: Date, text: Translate): string | null {
  if (value === 'none') return null;
  const match = /^(\d{1,5})([mhdw])$/.exec(value);
  const unitMs = UNIT_MS[match?.[2] ?? ''];
  if (match && unitMs !== undefined)
    return new Date(now.getTime() + Number(match[1]) * unitMs).toISOString();
  return parseTime('--expires', value, text, text('error.expires'));
}

export function parseTime(
  option: string,
  value: string,
  text: Translate,
  reason: string = text('error.time'),
): string {
  // Without a time the ISO form would mean midnight in UTC, not here.
  const local = /^\d{4}-\d{2}-\d{2}$/.test(value) ? `${value}T00:00` : value;
  const date = /^\d{4}-\d{2}-\d{2}T/.test(local) ? new Date(local) : new Date(Number.NaN);
  if (Number.isNaN(date.getTime()))
    throw new OperationError('invalid_input', text('error.option', { option, value, reason }));
  return date.toISOString();
}

export function parseLabels(words: readonly string[], text: Translate): Record<string, string> {
  return Object.fromEntries(
    words.map((value) => {
      const at = value.indexOf('=');
      if (at < 1)
        throw new OperationError(
          'invalid_input',
          text('error.option', { option: '--label', value, reason: text('error.label') }),
        );
      return [value.slice(0, at), value.slice(at + 1)];
    }),
  );
}
