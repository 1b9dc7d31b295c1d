import { useSyncExternalStore } from 'react';
import { i18n } from './texts/i18n.ts';
import type { Language } from './texts/catalog.ts';
import { createStoredValue } from './stored-value.ts';

export type Theme = 'system' | 'light' | 'dark';
export const THEMES: readonly Theme[] = ['system', 'light', 'dark'];

const preferredLanguage = (): Language =>
  navigator.languages.find((tag) => /^(en|ja)\b/i.test(tag))?.startsWith('ja') ? 'ja' : 'en';

const language = createStoredValue<Language>({
  storage: () => localStorage,
  key: 'komadori.language',
  parse: (text) => (text === 'en' || text === 'ja' ? text : preferredLanguage()),
  format: (value) => value,
});

const theme = createStoredValue<Theme>({
  storage: () => localStorage,
  key: 'komadori.theme',
  parse: (text) => THEMES.find((name) => name === text) ?? 'system',
  format: (value) => value,
});

const darkScheme = (): MediaQueryList => matchMedia('(prefers-color-scheme: dark)');

function applyTheme(): void {
  const isDark = theme.get() === 'dark' || (theme.get() === 'system' && darkScheme().matches);
  document.documentElement.classList.toggle('pf-v6-theme-dark', isDark);
}

function applyLanguage(): void {
  document.documentElement.lang = language.get();
  void i18n.changeLanguage(language.get());
}

/** Called once, before anything is shown; later changes apply themselves. */
export function applyPreferences(): void {
  applyTheme();
  applyLanguage();
  theme.subscribe(applyTheme);
  language.subscribe(applyLanguage);
  darkScheme().addEventListener('change', applyTheme);
}

export const setTheme = (value: Theme): void => theme.set(value);
export const setLanguage = (value: Language): void => language.set(value);
export const useTheme = (): Theme => useSyncExternalStore(theme.subscribe, theme.get);
export const useLanguage = (): Language => useSyncExternalStore(language.subscribe, language.get);
