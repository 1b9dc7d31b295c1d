import { createInstance } from 'i18next';
import { useTranslation } from 'react-i18next';
import { initReactI18next } from 'react-i18next/initReactI18next';
import { isTextKey, textsOf } from './catalog.ts';
import type { Language, TextKey } from './catalog.ts';
import { REASON_TEXTS } from './reason-texts.ts';

export const i18n = createInstance();

void i18n.use(initReactI18next).init({
  lng: 'en',
  fallbackLng: false,
  initAsync: false,
  resources: { en: { translation: textsOf('en') }, ja: { translation: textsOf('ja') } },
  keySeparator: false,
  nsSeparator: false,
  // React escapes what it shows.
  interpolation: { escapeValue: false, prefix: '{', suffix: '}' },
});

export type Translate = (
  key: TextKey,
  values?: Readonly<Record<string, string | number>>,
) => string;

export interface Texts {
  readonly t: Translate;
  readonly language: Language;
  /** The text for a word of the server, or the word itself where a newer server sent one. */
  readonly word: (group: string, name: string) => string;
  /** A reason of the state predicates, which speak English. */
  readonly reason: (english: string) => string;
}

export function useTexts(): Texts {
  const { t, i18n: current } = useTranslation(undefined, { i18n });
  const language: Language = current.language === 'ja' ? 'ja' : 'en';
  const translate: Translate = (key, values) => t(key, { ...values });
  return {
    t: translate,
    language,
    word: (group, name) => {
      const key = `${group}.${name}`;
      return isTextKey(key) ? translate(key) : name;
    },
    reason: (english) => (language === 'ja' ? (REASON_TEXTS[english] ?? english) : english),
  };
}
