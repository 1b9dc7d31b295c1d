import type { QueryClient } from '@tanstack/react-query';
import { useQueryClient } from '@tanstack/react-query';
import { useEffect } from 'react';
import type { Client } from '../client/client.ts';
import { useClient } from './api.ts';
import { touchedQueries } from './logic/touched-queries.ts';

/** Events come in bursts; one reading per second is as live as a person can follow. */
const GATHER_MS = 1000;

/** Keeps what is shown current for as long as somebody is signed in. */
export function useLiveUpdates(): void {
  const client = useClient();
  const queries = useQueryClient();
  useEffect(() => {
    const ending = new AbortController();
    void follow(client, queries, ending.signal);
    return () => ending.abort();
  }, [client, queries]);
}

async function follow(client: Client, queries: QueryClient, signal: AbortSignal): Promise<void> {
  const touched = new Set<string>();
  let timer: ReturnType<typeof setTimeout> | null = null;
  const flush = (): void => {
    timer = null;
    const names = new Set(touched);
    touched.clear();
    void queries.invalidateQueries({
      predicate: ({ queryKey }) => names.has('*') || names.has(String(queryKey[0])),
    });
  };
  let isFirst = true;
  try {
    for await (const event of client.events({ signal })) {
      // What was read at the start is current when the stream opens for the first time.
      const isStart = isFirst && event.type === 'connected';
      isFirst = false;
      if (isStart) continue;
      for (const name of touchedQueries(event) ?? ['*']) touched.add(name);
      timer ??= setTimeout(flush, GATHER_MS);
    }
  } catch {
    // Refused, or signed out: reading again shows the reason where somebody looks.
    if (!signal.aborted) void queries.invalidateQueries();
  } finally {
    if (timer !== null) clearTimeout(timer);
  }
}
