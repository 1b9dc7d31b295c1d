import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';

const folders: string[] = [];
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

const FAKE_NPM = `#!/bin/sh
echo "npm $*" >>"$PROJECT/npm-calls"
echo "npm speaks"
[ -e "$PROJECT/npm-fails" ] && exit 7
[ -e "$PROJECT/ci-fails" ] && [ "$1" = ci ] && exit 1
rm -rf "$PROJECT/node_modules"
mkdir -p "$PROJECT/node_modules/node-linux-$ARCH/bin"
[ -e "$PROJECT/no-node" ] || cp "$PROJECT/fake-node" "$PROJECT/node_modules/node-linux-$ARCH/bin/node"
`;
const FAKE_NODE = `#!/bin/sh
printf '%s\\n' "$@" >"$PROJECT/node-arguments"
if [ "$2" = wait ]; then
  trap 'exit 5' TERM
  echo waiting
  while :; do sleep 0.05; done
fi
[ "$2" = die ] && kill -KILL $$
exit 3
`;

/** A project folder whose npm and whose own Node only write down how they were called. */
function createProject(): { root: string; env: NodeJS.ProcessEnv; script: string } {
  const root = mkdtempSync(path.join(tmpdir(), 'komadori-bootstrap-'));
  folders.push(root);
  for (const name of ['scripts', 'programs']) mkdirSync(path.join(root, name));
  const script = path.join(root, 'scripts/bootstrap.mjs');
  copyFileSync(path.join(import.meta.dirname, 'bootstrap.mjs'), script);
  writeFileSync(path.join(root, 'package-lock.json'), '{}');
  writeFileSync(path.join(root, 'programs/npm'), FAKE_NPM, { mode: 0o755 });
  writeFileSync(path.join(root, 'fake-node'), FAKE_NODE, { mode: 0o755 });
  const { npm_execpath: _, ...outer } = process.env;
  const programs = `${path.join(root, 'programs')}:${process.env['PATH']}`;
  return { root, script, env: { ...outer, PATH: programs, PROJECT: root, ARCH: process.arch } };
}

function run(project: ReturnType<typeof createProject>, args: readonly string[]) {
  return spawnSync(process.execPath, [project.script, ...args], {
    env: project.env,
    encoding: 'utf8',
    timeout: 20_000,
  });
}

const npmCalls = (root: string): number =>
  readFileSync(path.join(root, 'npm-calls'), 'utf8').trim().split('\n').length;

test('installs the packages once, and again when the lock file changed', () => {
  const project = createProject();
  run(project, ['test']);
  run(project, ['test']);
  assert.equal(npmCalls(project.root), 1);
  appendFileSync(path.join(project.root, 'package-lock.json'), ' ');
  run(project, ['test']);
  assert.equal(npmCalls(project.root), 2);
});

test('hands arguments to the script and its exit code back', () => {
  const project = createProject();
  const result = run(project, ['test', '--', 'a b', '--test-only']);
  assert.equal(result.status, 3);
  assert.equal(result.stdout, '', 'standard output belongs to the script');
  const given = readFileSync(path.join(project.root, 'node-arguments'), 'utf8').trim().split('\n');
  assert.deepEqual(given, [path.join(project.root, 'scripts/test.ts'), 'a b', '--test-only']);
});

test('ends the way its child ended when a signal killed it', () => {
  assert.equal(run(createProject(), ['test', 'die']).signal, 'SIGKILL');
});

test('passes a signal on and waits for what the child makes of it', async () => {
  const project = createProject();
  const child = spawn(process.execPath, [project.script, 'test', 'wait'], {
    env: project.env,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  await once(child.stdout, 'data');
  child.kill('SIGTERM');
  assert.deepEqual(await once(child, 'exit'), [5, null]);
});

test('a failed installation is reported and tried again', () => {
  const project = createProject();
  writeFileSync(path.join(project.root, 'npm-fails'), '');
  const result = run(project, ['test']);
  assert.equal(result.status, 1);
  assert.match(result.stderr, /npm speaks[^]*could not be installed/);
  assert.equal(existsSync(path.join(project.root, 'node-arguments')), false);
  rmSync(path.join(project.root, 'npm-fails'));
  assert.equal(run(project, ['test']).status, 3);
});

test('where npm ci refuses the lock file, this platform’s packages are installed from it', () => {
  const project = createProject();
  writeFileSync(path.join(project.root, 'ci-fails'), '');
  const result = run(project, ['test']);
  assert.equal(result.status, 3);
  assert.doesNotMatch(result.stderr, /npm speaks/);
  assert.equal(
    readFileSync(path.join(project.root, 'npm-calls'), 'utf8'),
    'npm ci\nnpm install --no-save\n',
  );
});

test('says what to do when npm left the project’s Node out', () => {
  const project = createProject();
  writeFileSync(path.join(project.root, 'no-node'), '');
  const result = run(project, ['check']);
  assert.equal(result.status, 1);
  assert.match(result.stderr, /node-linux-\w+.*--omit=optional/);
});

test('an unknown command installs nothing', () => {
  const project = createProject();
  const result = run(project, ['constructor']);
  assert.equal(result.status, 1);
  assert.match(result.stderr, /usage: .*quickstart\|test\|bench/);
  assert.equal(existsSync(path.join(project.root, 'npm-calls')), false);
});
