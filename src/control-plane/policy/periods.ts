/** The periods of which retention keeps the newest snapshot. */
export type Period = 'hourly' | 'daily' | 'weekly' | 'monthly' | 'yearly';

const DAY_MS = 24 * 3600 * 1000;

interface WallTime {
  readonly year: number;
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly offset: string;
}

export type PeriodNamer = (period: Period, at: Date) => string;

/** Names of periods in a time zone; two instants have the same name when they are of one period. */
export function createPeriodNamer(timeZone: string): PeriodNamer {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone,
    calendar: 'gregory',
    numberingSystem: 'latn',
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    timeZoneName: 'longOffset',
  });
  return (period, at) => nameOf(period, readWallTime(format, at));
}

function readWallTime(format: Intl.DateTimeFormat, at: Date): WallTime {
  const parts = new Map(format.formatToParts(at).map(({ type, value }) => [type, value]));
  const number = (type: Intl.DateTimeFormatPartTypes): number => Number(parts.get(type));
  return {
    year: number('year'),
    month: number('month'),
    day: number('day'),
    hour: number('hour'),
    offset: parts.get('timeZoneName') ?? '',
  };
}

const two = (value: number): string => String(value).padStart(2, '0');

function nameOf(period: Period, wall: WallTime): string {
  const { year, month, day } = wall;
  switch (period) {
    case 'hourly':
      // With the offset: the hour that the clock shows twice in autumn is two hours.
      return `${year}-${two(month)}-${two(day)} ${two(wall.hour)}h ${wall.offset}`;
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
