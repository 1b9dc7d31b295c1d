import type { Language } from '../texts/catalog.ts';

const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;
const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

export interface Format {
  bytes(bytes: number): string;
  duration(durationMs: number): string;
  time(iso: string): string;
  timeOfDay(iso: string): string;
  ago(iso: string, now: Date): string;
  number(value: number): string;
  ratio(value: number): string;
  percent(share: number): string;
}

/** The reader's own regional variant where the browser names one of the chosen language. */
export const localeFor = (language: Language, preferred: readonly string[]): string =>
  preferred.find((tag) => tag.toLowerCase().split('-')[0] === language) ??
  (language === 'ja' ? 'ja-JP' : 'en');

export function createFormat(locale: string, timeZone?: string): Format {
  const plain = new Intl.NumberFormat(locale);
  const short = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
  const percent = new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 0 });
  const dateTime = new Intl.DateTimeFormat(locale, {
    dateStyle: 'medium',
    timeStyle: 'short',
    timeZone,
  });
  const timeOnly = new Intl.DateTimeFormat(locale, { timeStyle: 'medium', timeZone });
  const relative = new Intl.RelativeTimeFormat(locale, { numeric: 'auto' });
  const unit = (value: number, name: string, digits = 0): string =>
    new Intl.NumberFormat(locale, {
      style: 'unit',
      unit: name,
      unitDisplay: 'short',
      maximumFractionDigits: digits,
    }).format(value);

  return {
    bytes: (bytes) => {
      let value = bytes;
      let index = 0;
      while (Math.abs(value) >= 1024 && index < BYTE_UNITS.length - 1) {
        value /= 1024;
        index += 1;
      }
      const formatted =
        index === 0 || value >= 100 ? plain.format(Math.round(value)) : short.format(value);
      return `${formatted} ${BYTE_UNITS[index] ?? 'B'}`;
    },
    duration: (durationMs) => {
      if (durationMs < SECOND_MS) return unit(durationMs, 'millisecond', durationMs < 10 ? 1 : 0);
      if (durationMs < MINUTE_MS)
        return unit(durationMs / SECOND_MS, 'second', durationMs < 10 * SECOND_MS ? 1 : 0);
      const [large, largeUnit, small, smallUnit] =
        durationMs < HOUR_MS
          ? [MINUTE_MS, 'minute', SECOND_MS, 'second']
          : durationMs < DAY_MS
            ? [HOUR_MS, 'hour', MINUTE_MS, 'minute']
            : [DAY_MS, 'day', HOUR_MS, 'hour'];
      const rest = Math.floor((durationMs % large) / small);
      const first = unit(Math.floor(durationMs / large), largeUnit);
      return rest === 0 ? first : `${first} ${unit(rest, smallUnit)}`;
    },
    time: (iso) => dateTime.format(new Date(iso)),
    timeOfDay: (iso) => timeOnly.format(new Date(iso)),
    ago: (iso, now) => {
      const differenceMs = new Date(iso).getTime() - now.getTime();
      const size = Math.abs(differenceMs);
      const [divisor, name]: [number, Intl.RelativeTimeFormatUnit] =
        size < MINUTE_MS
          ? [SECOND_MS, 'second']
          : size < HOUR_MS
            ? [MINUTE_MS, 'minute']
            : size < DAY_MS
              ? [HOUR_MS, 'hour']
              : [DAY_MS, 'day'];
      return relative.format(Math.round(differenceMs / divisor), name);
    },
    number: (value) => plain.format(value),
    ratio: (value) => short.format(value),
    percent: (share) => percent.format(share),
  };
}
