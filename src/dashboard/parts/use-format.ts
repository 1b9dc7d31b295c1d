import { useEffect, useMemo, useState } from 'react';
import { createFormat, localeFor } from '../logic/format.ts';
import type { Format } from '../logic/format.ts';
import { useLanguage } from '../preferences.ts';

export function useFormat(): Format {
  const language = useLanguage();
  return useMemo(() => createFormat(localeFor(language, navigator.languages)), [language]);
}

const TICK_MS = 30_000;

/** The time, now and again, so that "2 minutes ago" stays true. */
export function useNow(): Date {
  const [now, setNow] = useState(() => new Date());
  useEffect(() => {
    const timer = setInterval(() => setNow(new Date()), TICK_MS);
    return () => clearInterval(timer);
  }, []);
  return now;
}
