import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { parseSync } from 'vite';
import { auditOutcomeSchema } from '../../contract/audit-events.ts';
import { decisionKindSchema } from '../../contract/confirmation.ts';
import { jobStateSchema, stepStateSchema } from '../../contract/jobs.ts';
import { requestStateSchema } from '../../contract/requests.ts';
import { RIGHTS } from '../../contract/rights.ts';
import { jobKindSchema, operationSchema } from '../../contract/scalars.ts';
import { snapshotStateSchema } from '../../contract/snapshots.ts';
import { jobCan, requestCan, snapshotCan, vmCan } from '../../contract/state-predicates.ts';
import type { Verdict } from '../../contract/state-predicates.ts';
import { sampleSnapshot, sampleVm } from '../../client/samples.test-suite.ts';
import { ERROR_TABLE } from '../../shared/errors.ts';
import {
  consistencyLevelSchema,
  memoryModeSchema,
  quiescePolicySchema,
  snapshotKindSchema,
  vmStateSchema,
} from '../../shared/inventory.ts';
import { CATALOG, isTextKey } from './catalog.ts';
import { REASON_TEXTS } from './reason-texts.ts';

const FOLDER = path.resolve(import.meta.dirname, '..');
const sources = readdirSync(FOLDER, { recursive: true, encoding: 'utf8' })
  .filter((file) => /\.tsx?$/.test(file) && !file.endsWith('.test.ts'))
  .map((file) => ({ file, code: readFileSync(path.join(FOLDER, file), 'utf8') }));

const valuesIn = (text: string): string[] => (text.match(/\{\w+\}/g) ?? []).toSorted();

test('every text stands in both languages and holds the same values', () => {
  for (const [key, [english, japanese]] of Object.entries(CATALOG)) {
    assert.ok(english.trim() !== '' && japanese.trim() !== '', key);
    assert.deepEqual(valuesIn(japanese), valuesIn(english), key);
    if (key.endsWith('_one'))
      assert.ok(Object.hasOwn(CATALOG, key.replace(/_one$/, '_other')), key);
  }
});

test('whoever reads Japanese reads Japanese', () => {
  const same = Object.entries(CATALOG).filter(
    ([, [english, japanese]]) =>
      english === japanese && /[a-z]{4}/.test(english.replaceAll(/\{\w+\}/g, '')),
  );
  assert.deepEqual(
    same.map(([key]) => key),
    ['app.name', 'app.title', 'shell.language.en'],
  );
});

test('no words of the contract are missing', () => {
  const groups = {
    'vm-state': vmStateSchema.options,
    'snapshot-state': snapshotStateSchema.options,
    'request-state': requestStateSchema.options,
    'job-state': jobStateSchema.options,
    'step-state': stepStateSchema.options,
    operation: operationSchema.options,
    level: consistencyLevelSchema.options,
    'level-meaning': consistencyLevelSchema.options,
    decision: decisionKindSchema.options,
    kind: snapshotKindSchema.options,
    'memory-mode': memoryModeSchema.options,
    quiesce: quiescePolicySchema.options,
    outcome: auditOutcomeSchema.options,
    right: RIGHTS,
    error: Object.keys(ERROR_TABLE),
  };
  for (const [group, names] of Object.entries(groups))
    for (const name of names) assert.ok(isTextKey(`${group}.${name}`), `${group}.${name}`);
});

test('every reason of the state predicates is there in Japanese', () => {
  const verdicts: Verdict[] = [];
  const vm = sampleVm();
  for (const present of [true, false])
    for (const state of vmStateSchema.options)
      for (const jobActive of [true, false]) {
        const seen = { ...vm, present, state, description: { ...vm.description, jobActive } };
        verdicts.push(vmCan.capture(seen), snapshotCan.rollBack(sampleSnapshot(), seen));
      }
  for (const state of snapshotStateSchema.options)
    for (const pinned of [true, false])
      for (const operation of [null, ...jobKindSchema.options]) {
        const busyWith = operation && { operation, requestId: vm.id };
        const snapshot = sampleSnapshot({ state, pinned, busyWith });
        verdicts.push(
          snapshotCan.restore(snapshot),
          snapshotCan.export(snapshot),
          snapshotCan.verify(snapshot),
          snapshotCan.delete(snapshot),
          snapshotCan.edit(snapshot),
          snapshotCan.rollBack(snapshot, null),
        );
      }
  const requestedBy = { id: 'u1', name: 'aya', kind: 'user' } as const;
  for (const state of requestStateSchema.options) {
    const mine = { kind: 'approve', by: { ...requestedBy, id: 'u2' }, counts: true } as const;
    const request = { state, requestedBy, expiresAt: null, decisions: [mine] };
    const now = '2026-03-01T00:00:00.000Z';
    for (const id of ['u1', 'u2'])
      verdicts.push(
        requestCan.approve(request, { id, now }),
        requestCan.cancel(request, { id, now, isAdministrator: false }),
      );
    verdicts.push(requestCan.reject(request, now));
  }
  for (const state of jobStateSchema.options)
    for (const cancelRequested of [true, false])
      verdicts.push(jobCan.cancel({ state, cancelRequested }));
  const reasons = new Set(verdicts.flatMap((verdict) => (verdict.allowed ? [] : [verdict.reason])));
  assert.deepEqual(
    [...reasons].filter((reason) => !Object.hasOwn(REASON_TEXTS, reason)),
    [],
  );
  assert.deepEqual(
    Object.keys(REASON_TEXTS).filter((reason) => !reasons.has(reason)),
    [],
  );
});

test('no text lies unused in the catalog', () => {
  const code = sources
    .filter(({ file }) => !file.endsWith('-texts.ts'))
    .map((source) => source.code)
    .join('\n');
  // Keys that are put together at run time: `step.${name}`, word('step', name).
  const stems = [
    ...[...code.matchAll(/`([a-zA-Z-]+(?:\.[a-zA-Z]+)*\.)\$\{/g)].map((match) => match[1] ?? ''),
    ...[...code.matchAll(/word\(\s*'([a-z-]+)'/g)].map((match) => `${match[1]}.`),
    ...[...code.matchAll(/group="([a-z-]+)"/g)].map((match) => `${match[1]}.`),
    'decide.',
  ];
  const unused = Object.keys(CATALOG)
    .map((key) => key.replace(/_(one|other)$/, ''))
    .filter((key) => !code.includes(`'${key}'`) && !stems.some((stem) => key.startsWith(stem)));
  assert.deepEqual(unused, []);
});

interface Node {
  readonly type: string;
  readonly value?: unknown;
  readonly name?: { readonly name?: unknown };
}

const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string';

function* nodesIn(value: unknown): Generator<Node> {
  if (isNode(value)) yield value;
  if (typeof value === 'object' && value !== null)
    for (const child of Object.values(value)) yield* nodesIn(child);
}

const SHOWN_ATTRIBUTES = /^(aria-label|title|label|placeholder|help|body|description|alt|none)$/;

/** What a reader would see or hear that no catalog holds. */
function strayTexts(file: string, code: string): string[] {
  const { program, errors } = parseSync(file, code);
  assert.deepEqual(errors, [], file);
  return [...nodesIn(program)].flatMap((node) => {
    if (node.type === 'JSXText' && typeof node.value === 'string' && /\p{L}/u.test(node.value))
      return [node.value.trim()];
    const { value } = node;
    const isShown = node.type === 'JSXAttribute' && SHOWN_ATTRIBUTES.test(String(node.name?.name));
    return isShown &&
      isNode(value) &&
      value.type === 'Literal' &&
      /\p{L}/u.test(String(value.value))
      ? [String(value.value)]
      : [];
  });
}

test('no text stands outside the catalogs', () => {
  const found = sources
    .filter(({ file }) => file.endsWith('.tsx'))
    .flatMap(({ file, code }) => strayTexts(file, code).map((text) => `${file}: ${text}`));
  assert.deepEqual(found, []);
  assert.ok(sources.length > 50);
});

test('the search for stray texts finds them', () => {
  const code = 'const a = <p title="Hello">{t("x")} world · </p>;';
  assert.deepEqual(strayTexts('a.tsx', code).toSorted(), ['Hello', 'world ·']);
});
