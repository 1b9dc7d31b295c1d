import { useSyncExternalStore } from 'react';
import { createStoredValue } from './stored-value.ts';

/** The API token of this tab: gone with the tab, and never in a cookie that other sites could ride on. */
const token = createStoredValue<string | null>({
  storage: () => sessionStorage,
  key: 'komadori.token',
  parse: (text) => text,
  format: (value) => value,
});

export const signIn = (secret: string): void => token.set(secret);
export const signOut = (): void => token.set(null);
export const useToken = (): string | null => useSyncExternalStore(token.subscribe, token.get);
