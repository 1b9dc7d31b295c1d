import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ERROR_TABLE, isErrorCode, OperationError, toOperationError } from './errors.ts';

const page = readFileSync(path.resolve(import.meta.dirname, '../../docs/errors.md'), 'utf8');

test('docs/errors.md has each code with its status and exit code, and no others', () => {
  const rows = [...page.matchAll(/^\| \[`(\w+)`\]\(#(\w+)\) \| (\d+) \| (\d+) \|$/gm)];
  const documented = Object.fromEntries(
    rows.map(([, code, anchor, status, exitCode]) => {
      assert.equal(anchor, code);
      return [code, { status: Number(status), exitCode: Number(exitCode) }];
    }),
  );
  assert.deepEqual(documented, ERROR_TABLE);
  assert.equal(rows.length, Object.keys(ERROR_TABLE).length, 'a code is listed twice');
});

test('docs/errors.md explains each code and says what to do, and explains no others', () => {
  const sections = page.split(/^## /m).slice(1);
  const codes = sections.map((section) => {
    const [code = '', , meaning = '', , whatToDo = ''] = section.split('\n');
    assert.ok(meaning.length > 20, `${code} is not explained`);
    assert.match(whatToDo, /^\*\*What to do:\*\* \w.{5,}/, `${code} says not what to do`);
    return code;
  });
  assert.deepEqual(codes, Object.keys(ERROR_TABLE));
});

test('only codes of the table are codes', () => {
  assert.ok(isErrorCode('not_found'));
  for (const other of ['toString', '__proto__', 'constructor', '']) assert.ok(!isErrorCode(other));
});

test('whatever is thrown becomes an OperationError, and only our own words are shown', () => {
  const own = new OperationError('in_use', 'Busy.');
  assert.equal(toOperationError(own), own);
  const bug = toOperationError(new TypeError('secret detail'));
  assert.equal(bug.code, 'internal');
  assert.ok(!bug.message.includes('secret'));
  assert.ok(bug.cause instanceof TypeError);
  assert.equal(toOperationError('text').code, 'internal');
  assert.equal(toOperationError(AbortSignal.abort().reason).code, 'cancelled');
});
