import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { AUDIT_TEXTS } from './audit-texts.ts';
import { ACCOUNT_TEXTS } from './account-texts.ts';
import { CONFIRMATION_TEXTS } from './confirmation-texts.ts';
import { PERMISSION_TEXTS } from './permission-texts.ts';
import { MESSAGE_TEXTS } from './message-texts.ts';
import { runInProcess } from './run-in-process.test-suite.ts';
import { TEXTS } from './texts.ts';
import { chooseLanguage, createTranslate } from './translate.ts';

const marks = (text: string) =>
  [...text.matchAll(/\{(\w+)\}/g)]
    .map((match) => match[1] ?? '')
    .sort((one, other) => one.localeCompare(other));
const entries = [
  TEXTS,
  MESSAGE_TEXTS,
  CONFIRMATION_TEXTS,
  PERMISSION_TEXTS,
  ACCOUNT_TEXTS,
  AUDIT_TEXTS,
].flatMap((texts) => Object.entries(texts));

test('both languages say everything, with the same values', () => {
  assert.equal(new Set(entries.map(([key]) => key)).size, entries.length, 'no key stands twice');
  for (const [key, [english, japanese]] of entries) {
    assert.ok(english.trim() !== '' && japanese.trim() !== '', key);
    assert.deepEqual([...new Set(marks(japanese))], [...new Set(marks(english))], key);
  }
});

test('every text is used', () => {
  // The commands that run on the host itself are in main.
  const folders = [import.meta.dirname, path.join(import.meta.dirname, '../main')];
  const source = folders
    .flatMap((folder) => readdirSync(folder).map((file) => path.join(folder, file)))
    .filter((file) => file.endsWith('.ts') && !/texts\.ts$|\.test/.test(file))
    .map((file) => readFileSync(file, 'utf8'))
    .join('\n');
  const unused = entries
    .map(([key]) => key)
    .filter((key) => !key.startsWith('help.') && !source.includes(`'${key}'`));
  assert.deepEqual(unused, []);
});

test('the language comes from --lang, then from the locale', () => {
  assert.equal(chooseLanguage([], { LANG: 'ja_JP.UTF-8' }), 'ja');
  assert.equal(chooseLanguage([], { LANG: 'ja_JP.UTF-8', LC_ALL: 'C' }), 'en');
  assert.equal(chooseLanguage(['vm', 'list', '--lang', 'ja'], { LANG: 'C' }), 'ja');
  assert.equal(chooseLanguage(['--lang=en'], { LANG: 'ja' }), 'en');
  assert.equal(chooseLanguage([], { LANG: 'jam_JM' }), 'en');
  assert.equal(createTranslate('ja')('word.yes'), 'はい');
});

const HELP = ['', 'vm', 'vm preflight', 'snapshot', 'snapshot create', 'snapshot restore', 'login'];

for (const lang of ['en', 'ja'])
  test(`help texts (${lang})`, async (t) => {
    const pages: string[] = [];
    for (const command of HELP) {
      const argv = [...command.split(' ').filter(Boolean), '--help', '--lang', lang];
      const help = await runInProcess(argv);
      assert.equal(help.code, 0, help.errors);
      pages.push(`$ komadori ${command} --help\n${help.output}`);
    }
    const golden = path.join(import.meta.dirname, 'golden', `help-${lang}.txt`);
    t.assert.fileSnapshot(pages.join('\n'), golden, { serializers: [(text: string) => text] });
  });

test('every command explains itself in both languages without a missing text', async () => {
  const completion = await runInProcess(['completion']);
  const trails = [...completion.output.matchAll(/'([a-z -]+)'\)/g)].map((match) => match[1] ?? '');
  assert.ok(trails.length > 30);
  for (const trail of trails) {
    const help = await runInProcess([...trail.split(' '), '--help', '--lang', 'ja']);
    assert.equal(help.code, 0, trail);
    assert.match(help.output, /使い方:/, trail);
    assert.doesNotMatch(
      help.output,
      /\b(display|output the)\b/,
      `${trail}: commander’s own English`,
    );
  }
});
