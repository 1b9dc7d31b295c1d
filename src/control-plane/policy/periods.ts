/** The periods of which retention keeps the newest snapshot. */
export type Period = 'hourly' | 'daily' | 'weekly' | 'monthly' | 'yearly';

const DAY_MS = 24 * 3600 * 1000;

interface WallTime {
  readonly year: number;
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly offsetMs: number;
}

export type PeriodNamer = (period: Period, at: Date) => string;

/** Names of periods in a time zone; two instants have the same name when they are of one period. */
export function createPeriodNamer(timeZone: string): PeriodNamer {
  const offsetAt = createOffsetReader(timeZone);
  return (period, at) => nameOf(period, readWallTime(at, offsetAt(at.getTime())));
}

/** No zone changes its clock at other moments than these. */
const OFFSET_HOLDS_MS = 15 * 60_000;

/** Asking Intl is slow; the answer holds for a while. Lives as long as one decision. */
function createOffsetReader(timeZone: string): (atMs: number) => number {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone,
    calendar: 'gregory',
    numberingSystem: 'latn',
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  });
  const known = new Map<number, number>();
  return (atMs) => {
    const startMs = Math.floor(atMs / OFFSET_HOLDS_MS) * OFFSET_HOLDS_MS;
    const offsetMs = known.get(startMs) ?? readOffset(format, startMs);
    known.set(startMs, offsetMs);
    return offsetMs;
  };
}

function readOffset(format: Intl.DateTimeFormat, atMs: number): number {
  const parts = new Map(format.formatToParts(atMs).map(({ type, value }) => [type, value]));
  const number = (type: Intl.DateTimeFormatPartTypes): number => Number(parts.get(type));
  const wallMs = Date.UTC(
    number('year'),
    number('month') - 1,
    number('day'),
    number('hour'),
    number('minute'),
    number('second'),
  );
  return wallMs - atMs;
}

function readWallTime(at: Date, offsetMs: number): WallTime {
  const wall = new Date(at.getTime() + offsetMs);
  return {
    year: wall.getUTCFullYear(),
    month: wall.getUTCMonth() + 1,
    day: wall.getUTCDate(),
    hour: wall.getUTCHours(),
    offsetMs,
  };
}

const two = (value: number): string => String(value).padStart(2, '0');

function nameOf(period: Period, wall: WallTime): string {
  const { year, month, day } = wall;
  switch (period) {
    case 'hourly':
      // With the offset: the hour that the clock shows twice in autumn is two hours.
      return `${year}-${two(month)}-${two(day)} ${two(wall.hour)}h ${wall.offsetMs / 60_000}`;
    case 'daily':
      return `${year}-${two(month)}-${two(day)}`;
    case 'weekly':
      return nameOfWeek(wall);
    case 'monthly':
      return `${year}-${two(month)}`;
    case 'yearly':
      return String(year);
    default:
      return period satisfies never;
  }
}

/** ISO 8601: a week belongs to the year that its Thursday is in. */
function nameOfWeek({ year, month, day }: WallTime): string {
  const date = Date.UTC(year, month - 1, day);
  const dayFromMonday = (new Date(date).getUTCDay() + 6) % 7;
  const thursday = date + (3 - dayFromMonday) * DAY_MS;
  const weekYear = new Date(thursday).getUTCFullYear();
  const week = Math.floor((thursday - Date.UTC(weekYear, 0, 1)) / (7 * DAY_MS)) + 1;
  return `${weekYear}-W${two(week)}`;
}
