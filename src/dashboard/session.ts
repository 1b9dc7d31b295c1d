import { useSyncExternalStore } from 'react';
import { createStoredValue } from './stored-value.ts';

/** The API token of this tab: gone with the tab, and never in a cookie that other sites could ride on. */
const token = createStoredValue<string | null>({
  storage: () => sessionStorage,
  key: 'komadori.token',
  parse: (text) => text,
  format: (value) => value,
});

/** Only that there is a session; its secret is in a cookie that no script can read. */
const session = createStoredValue<boolean>({
  storage: () => localStorage,
  key: 'komadori.session',
  parse: (text) => text === 'open',
  format: (value) => (value ? 'open' : null),
});

/** Of the session, for calls that change something. Read again after each load of the page. */
let csrfToken: string | undefined;

export type SignedInBy =
  | { readonly kind: 'token'; readonly token: string }
  | { readonly kind: 'session' };

const SESSION: SignedInBy = { kind: 'session' };

export const signInWithToken = (secret: string): void => token.set(secret);

export function signInWithSession(newCsrfToken: string): void {
  csrfToken = newCsrfToken;
  session.set(true);
}

export const setCsrfToken = (newCsrfToken: string | undefined): void => {
  csrfToken = newCsrfToken;
};
export const getCsrfToken = (): string | undefined => csrfToken;

/** In this browser only; the server is told by whoever asks for it. */
export function forgetSignIn(): void {
  csrfToken = undefined;
  token.set(null);
  session.set(false);
}

/** A token that was pasted into this tab goes before the session of the browser. */
export function useSignedInBy(): SignedInBy | null {
  const secret = useSyncExternalStore(token.subscribe, token.get);
  const hasSession = useSyncExternalStore(session.subscribe, session.get);
  if (secret !== null) return { kind: 'token', token: secret };
  return hasSession ? SESSION : null;
}
