import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ERROR_TABLE } from '../shared/errors.ts';
import { runInProcess } from './run-in-process.test-suite.ts';

const document = readFileSync(path.resolve(import.meta.dirname, '../../docs/cli.md'), 'utf8');

test('docs/cli.md lists every command, and none that does not exist', async () => {
  const completion = await runInProcess(['completion']);
  const trails = [...completion.output.matchAll(/'([a-z -]+)'\)/g)].map((match) => match[1] ?? '');
  const groups = new Set(
    trails.filter((trail) => trail.includes(' ')).map((trail) => trail.split(' ')[0]),
  );
  const commands = trails.filter((trail) => !groups.has(trail));
  const table = document.slice(document.indexOf('## Commands'), document.indexOf('## Waiting'));
  const listed = [...table.matchAll(/^\| (`.+?) \|/gm)].flatMap((row) =>
    [...(row[1] ?? '').matchAll(/`([a-z -]+?)(?: \[?[A-Z]+\]?)?`/g)].map((match) => match[1] ?? ''),
  );
  assert.deepEqual([...listed].toSorted(), [...commands].toSorted());
});

test('docs/cli.md lists every exit code', () => {
  const table = document.slice(document.indexOf('## Exit codes'));
  const listed = [...table.matchAll(/^\| (\d+) \|/gm)].map((match) => Number(match[1]));
  const used = new Set(Object.values(ERROR_TABLE).map((row): number => row.exitCode));
  assert.deepEqual(
    listed,
    [0, ...used, 130].toSorted((one, other) => one - other),
  );
});
