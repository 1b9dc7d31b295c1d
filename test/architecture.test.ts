import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

const root = path.resolve(import.meta.dirname, '..');
const sourceRoot = path.join(root, 'src');
// Data such as package.json belongs to no layer.
const IMPORT_PATTERN = /(?:from|import)\s*\(?\s*'(\.[^']+\.tsx?)'/g;

interface ModuleRule {
  readonly name: string;
  readonly mayImport: readonly string[] | 'any';
}

function parseRules(markdown: string): ModuleRule[] {
  return markdown
    .split('\n')
    .map((line) => /^\| `([^`]+)` \|.*\| ([^|]+) \|$/.exec(line))
    .filter((match) => match !== null)
    .map((match) => {
      const allowed = match[2]!.trim();
      return {
        name: match[1]!,
        mayImport:
          allowed === '*any*'
            ? 'any'
            : [...allowed.matchAll(/`([^`]+)`/g)].map((found) => found[1]!),
      };
    });
}

/** The most specific rule that covers a file; `x/*` covers files in sub-folders of `x`. */
function moduleOf(
  file: string,
  rules: readonly ModuleRule[],
): { rule: ModuleRule; instance: string } | undefined {
  const folder = path.dirname(file);
  let best: { rule: ModuleRule; instance: string } | undefined;
  for (const rule of rules) {
    const base = rule.name.endsWith('/*') ? rule.name.slice(0, -2) : rule.name;
    const isStar = base !== rule.name;
    if (folder !== base && !folder.startsWith(`${base}/`)) continue;
    if (isStar && folder === base) continue;
    const instance = isStar
      ? folder
          .split('/')
          .slice(0, base.split('/').length + 1)
          .join('/')
      : base;
    if (!best || instance.length > best.instance.length) best = { rule, instance };
  }
  return best;
}

function findViolation(
  file: string,
  specifier: string,
  rules: readonly ModuleRule[],
): string | undefined {
  const from = moduleOf(file, rules);
  if (!from) return `${file}: belongs to no module of ARCHITECTURE.md`;
  const target = path.join(path.dirname(file), specifier);
  const to = moduleOf(target, rules);
  if (!to) return `${file}: imports ${target}, which belongs to no module`;
  if (from.instance === to.instance || from.rule.mayImport === 'any') return undefined;
  return from.rule.mayImport.includes(to.rule.name)
    ? undefined
    : `${file}: ${from.instance} may not import ${to.instance}`;
}

const rules = parseRules(readFileSync(path.join(root, 'ARCHITECTURE.md'), 'utf8'));
const files = readdirSync(sourceRoot, { recursive: true, encoding: 'utf8' }).filter(
  (file) =>
    /\.tsx?$/.test(file) &&
    !file.endsWith('.test.ts') &&
    !file.endsWith('.test-suite.ts') &&
    !file.endsWith('.test-support.ts') &&
    !file.includes('node_modules'),
);

test('every import is allowed by the module table', () => {
  assert.ok(files.length > 3 && rules.length > 10, 'the test found no sources or no table');
  const violations = files.flatMap((file) =>
    [...readFileSync(path.join(sourceRoot, file), 'utf8').matchAll(IMPORT_PATTERN)]
      .map((match) => findViolation(file, match[1]!, rules))
      .filter((violation) => violation !== undefined),
  );
  assert.deepEqual(violations, []);
});

test('the check itself catches illegal imports', () => {
  assert.match(
    findViolation('control-plane/jobs/x.ts', '../../data-plane/nbd/client.ts', rules) ?? '',
    /may not import/,
  );
  assert.match(
    findViolation('data-plane/hypervisor/libvirt/x.ts', '../simulated/y.ts', rules) ?? '',
    /may not import/,
  );
  assert.match(findViolation('elsewhere/x.ts', '../shared/ids.ts', rules) ?? '', /no module/);
  assert.equal(findViolation('worker/x.ts', '../data-plane/engine/y.ts', rules), undefined);
});

test('the module table has no cycle', () => {
  const visit = (name: string, trail: readonly string[]): void => {
    assert.ok(!trail.includes(name), `cycle: ${[...trail, name].join(' → ')}`);
    const rule = rules.find((candidate) => candidate.name === name);
    assert.ok(rule, `the table allows an unknown module ${name}`);
    if (rule.mayImport !== 'any') for (const next of rule.mayImport) visit(next, [...trail, name]);
  };
  for (const rule of rules) visit(rule.name, []);
});
