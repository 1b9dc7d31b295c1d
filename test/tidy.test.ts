import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';

const ROOT = path.resolve(import.meta.dirname, '..');
const LINES_MAX = 400;
/** Made by tools, or not ours. */
const SKIPPED_FOLDERS = new Set(['node_modules', '.git', 'dist', 'var']);
const SELF = path.relative(ROOT, import.meta.filename);

interface Source {
  readonly file: string;
  readonly text: string;
}

function listFiles(folder: string): string[] {
  return readdirSync(path.join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) return SKIPPED_FOLDERS.has(entry.name) ? [] : listFiles(file);
    return entry.isFile() ? [file] : [];
  });
}

const files = listFiles('.');
const readText = (file: string): Source => ({
  file,
  text: readFileSync(path.join(ROOT, file), 'utf8'),
});
const isIn = (file: string, folders: readonly string[]): boolean =>
  folders.some((folder) => file.startsWith(`${folder}/`));
const isTestFile = (file: string): boolean => /\.(test|test-suite|test-support)\.tsx?$/.test(file);

const code = files
  .filter((file) => isIn(file, ['src', 'test', 'scripts']) && /\.(tsx?|mjs)$/.test(file))
  .map(readText);
const productCode = code.filter(({ file }) => isIn(file, ['src']) && !isTestFile(file));
const pages = files.filter((file) => file.endsWith('.md')).map(readText);
const packageJson = JSON.parse(readText('package.json').text) as {
  scripts: Record<string, string>;
};

/** `file:line: text` of every line that matches. */
function findLines(sources: readonly Source[], pattern: RegExp): string[] {
  return sources.flatMap(({ file, text }) =>
    text
      .split('\n')
      .map((line, index) => ({ line, number: index + 1 }))
      .filter(({ line }) => pattern.test(line))
      .map(({ line, number }) => `${file}:${number}: ${line.trim()}`),
  );
}

const BARE_TIME = /\bnew Date\(\)|\bDate\.now\b|\bMath\.random\b/;
const MARKER = /\b(TODO|FIXME|XXX|HACK)\b/;
const NOT_RUN = /\b(test|it|describe|suite|t)\.(only|skip|todo)\b|[{,]\s*(only|skip|todo): /;
const ENVIRONMENT = /\bprocess\.env\b/;

/** Where product code may ask for the time or for chance by itself, and why. */
const TIME_EXCEPTIONS: Readonly<Record<string, string>> = {
  'src/shared/clock.ts': 'is the clock',
  'src/shared/ids.ts': 'makes ids',
  'src/main/cli.ts': 'is where the command line gets its clock',
  'src/data-plane/hypervisor/libvirt/rpc/reconnecting.ts':
    'spreads reconnections of many hosts; the delay itself is planned by a pure function',
};
/** Components show a person their own clock; what they decide by it is in logic/, which is given the time. */
const ownsItsTime = (file: string): boolean =>
  file in TIME_EXCEPTIONS ||
  (isIn(file, ['src/dashboard']) && !isIn(file, ['src/dashboard/logic']));

describe('the tree', () => {
  test('is found at all', () => {
    assert.ok(productCode.length > 100 && pages.length > 10);
  });

  test('has no code file that is too long to read', () => {
    const long = code
      .map(({ file, text }) => ({ file, lines: text.split('\n').length - 1 }))
      .filter(({ lines }) => lines > LINES_MAX)
      .map(({ file, lines }) => `${file}: ${lines} lines`);
    assert.deepEqual(long, []);
  });

  test('has no markers of unfinished work', () => {
    const others = code.filter(({ file }) => file !== SELF);
    assert.deepEqual(findLines(others, MARKER), []);
  });

  test('has no test that is switched off or runs alone', () => {
    const tests = code.filter(
      ({ file }) => file !== SELF && (isTestFile(file) || isIn(file, ['test'])),
    );
    assert.deepEqual(findLines(tests, NOT_RUN), []);
  });

  test('takes time and chance from its clock and its ids', () => {
    const others = productCode.filter(({ file }) => !ownsItsTime(file));
    assert.deepEqual(findLines(others, BARE_TIME), []);
    for (const file of Object.keys(TIME_EXCEPTIONS))
      assert.ok(files.includes(file), `${file} is gone`);
  });

  test('reads the environment only where it starts', () => {
    const others = productCode.filter(({ file }) => !isIn(file, ['src/main']));
    assert.deepEqual(findLines(others, ENVIRONMENT), []);
  });

  test('names no place of the machine that it was written on', () => {
    const text = files
      .filter(
        (file) => /\.(tsx?|mjs|json|md|sh|sql|html|css|service|txt)$/.test(file) && file !== SELF,
      )
      .map(readText);
    assert.deepEqual(findLines(text, /(?<![\w.])\/(home|Users)\/[a-z]/), []);
    // A checkout where the manual says, or right below /, is nobody's own place.
    if (ROOT === '/opt/komadori' || ROOT.lastIndexOf('/') === 0) return;
    const own = ROOT.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
    assert.deepEqual(findLines(text, new RegExp(`(?<![\\w./-])${own}(?![\\w-])`)), []);
  });

  test('locks packages without the address of the registry they came from', () => {
    assert.doesNotMatch(readText('package-lock.json').text, /"resolved":/);
  });
});

describe('the pages', () => {
  test('name npm commands that exist', () => {
    const missing = pages.flatMap(({ file, text }) =>
      [...text.matchAll(/\bnpm (?:run ([\w:-]+)|(test))\b/g)]
        .map((match) => match[1] ?? match[2] ?? '')
        .filter((script) => !(script in packageJson.scripts))
        .map((script) => `${file}: ${script}`),
    );
    assert.deepEqual(missing, []);
  });

  test('link to files and headings that exist', () => {
    const broken = pages.flatMap(({ file, text }) =>
      [...text.matchAll(/\[[^\]]*\]\(([^)\s]+)\)/g)]
        .map((match) => match[1] ?? '')
        .filter((link) => !/^[a-z]+:/.test(link) && !leadsSomewhere(file, link))
        .map((link) => `${file}: ${link}`),
    );
    assert.deepEqual(broken, []);
  });

  test('name files of the tree that exist', () => {
    const missing = pages.flatMap(({ file, text }) =>
      [...text.matchAll(/`((?:src|test|scripts|docs)\/[\w./-]+)`/g)]
        .map((match) => match[1] ?? '')
        .filter((name) => !existsSync(path.join(ROOT, name)))
        .map((name) => `${file}: ${name}`),
    );
    assert.deepEqual(missing, []);
  });
});

function leadsSomewhere(page: string, link: string): boolean {
  const [target = '', heading] = link.split('#');
  const file = target === '' ? page : path.join(path.dirname(page), target);
  if (!existsSync(path.join(ROOT, file))) return false;
  return heading === undefined || !file.endsWith('.md') || headingsOf(file).has(heading);
}

/** As the usual viewers make anchors: lower case, no punctuation, spaces as dashes. */
function headingsOf(file: string): Set<string> {
  const { text } = readText(file);
  return new Set(
    [...text.matchAll(/^#+ (.+)$/gm)].map((match) =>
      (match[1] ?? '')
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}_\- ]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

test('the table of invariants and the titles of the tests name each other', () => {
  const { text } = readText('ARCHITECTURE.md');
  const rows = [...text.matchAll(/^\| (\d) \| .+? \| (.+) \|$/gm)];
  const named = rows.flatMap(([, number, cell = '']) => {
    const [naming = ''] = cell.split('without naming it');
    return [...naming.matchAll(/`([\w./-]+)`/g)].map(([, file]) => `${number}: ${file}`);
  });
  const naming = code
    .filter(({ file }) => isTestFile(file) && file !== SELF)
    .flatMap(({ file, text: source }) =>
      [...source.matchAll(/\b(?:test|describe)\(\s*['"`].*?invariants? ([\d, and]+)/g)].flatMap(
        ([, numbers = '']) => [...numbers.matchAll(/\d/g)].map(([number]) => `${number}: ${file}`),
      ),
    );
  assert.equal(rows.length, 9);
  // What is missing here stands in the table without a test, or in a test without the table.
  assert.deepEqual([...new Set(named)].sort(), [...new Set(naming)].sort());
});

test('the rules catch what they are for', () => {
  const caught = (pattern: RegExp, line: string): boolean =>
    findLines([{ file: 'x.ts', text: line }], pattern).length === 1;
  assert.ok(caught(BARE_TIME, 'const at = new Date();'));
  assert.ok(!caught(BARE_TIME, 'const at = new Date(now.getTime());'));
  assert.ok(caught(MARKER, '// TODO: later'));
  assert.ok(caught(NOT_RUN, "test.only('x', () => {});"));
  assert.ok(caught(NOT_RUN, "describe('x', { skip: isAway }, () => {});"));
  assert.ok(caught(ENVIRONMENT, "process.env['HOME']"));
  assert.ok(!leadsSomewhere('README.md', 'docs/no-such-page.md'));
  assert.ok(!leadsSomewhere('docs/errors.md', '#no_such_code'));
  assert.ok(leadsSomewhere('docs/cli.md', 'errors.md#invalid_input'));
});
