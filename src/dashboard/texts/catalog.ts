import { ACCOUNT_TEXTS } from './account-texts.ts';
import { ADMINISTRATION_TEXTS } from './administration-texts.ts';
import { DIALOG_TEXTS } from './dialog-texts.ts';
import { PAGE_TEXTS } from './page-texts.ts';
import { RULE_TEXTS } from './rule-texts.ts';
import { SHELL_TEXTS } from './shell-texts.ts';
import { WORD_TEXTS } from './word-texts.ts';

export type Language = 'en' | 'ja';

/** English, Japanese. `{name}` marks a value; keys that end in `_one` and `_other` depend on `count`. */
export const CATALOG = {
  ...SHELL_TEXTS,
  ...WORD_TEXTS,
  ...PAGE_TEXTS,
  ...DIALOG_TEXTS,
  ...ADMINISTRATION_TEXTS,
  ...ACCOUNT_TEXTS,
  ...RULE_TEXTS,
} as const satisfies Readonly<Record<string, readonly [string, string]>>;

type StoredKey = keyof typeof CATALOG;
type Counted<Key> = Key extends `${infer Stem}_one` | `${infer Stem}_other` ? Stem : Key;
export type TextKey = Counted<StoredKey>;

export const isTextKey = (key: string): key is TextKey =>
  Object.hasOwn(CATALOG, key) || Object.hasOwn(CATALOG, `${key}_other`);

export const textsOf = (language: Language): Record<string, string> =>
  Object.fromEntries(
    Object.entries(CATALOG).map(([key, texts]) => [key, texts[language === 'ja' ? 1 : 0]]),
  );
