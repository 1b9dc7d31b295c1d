import { AUDIT_TEXTS } from './audit-texts.ts';
import { ACCOUNT_TEXTS } from './account-texts.ts';
import { CONFIRMATION_TEXTS } from './confirmation-texts.ts';
import { PERMISSION_TEXTS } from './permission-texts.ts';
import { MESSAGE_TEXTS } from './message-texts.ts';
import { TEXTS } from './texts.ts';

export type Language = 'en' | 'ja';

const CATALOG = {
  ...TEXTS,
  ...MESSAGE_TEXTS,
  ...CONFIRMATION_TEXTS,
  ...PERMISSION_TEXTS,
  ...ACCOUNT_TEXTS,
  ...AUDIT_TEXTS,
};
export type TextKey = keyof typeof CATALOG;

export const isTextKey = (key: string): key is TextKey => Object.hasOwn(CATALOG, key);

export type Translate = (
  key: TextKey,
  values?: Readonly<Record<string, string | number>>,
) => string;

export const createTranslate =
  (language: Language): Translate =>
  (key, values = {}) =>
    CATALOG[key][language === 'ja' ? 1 : 0].replaceAll(/\{(\w+)\}/g, (mark, name: string) =>
      String(values[name] ?? mark),
    );

/** `--lang` has to be known before there is a program to parse it. */
export function chooseLanguage(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Language {
  const given = argv
    .map((word, index) =>
      word === '--lang' ? argv[index + 1] : word.startsWith('--lang=') ? word.slice(7) : undefined,
    )
    .find((value) => value !== undefined);
  const locale = given ?? env['LC_ALL'] ?? env['LC_MESSAGES'] ?? env['LANG'] ?? '';
  return /^ja(?![a-z])/i.test(locale) ? 'ja' : 'en';
}
