import assert from 'node:assert/strict';
import {
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
  mkdirSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { runCommand } from '../run-command.ts';
import { buildArchive } from './cpio.ts';
import { parseKernelDependencies } from './debian-packages.ts';
import { parseLoaded } from './guest-agent.ts';
import { collectModules, parseDependencies } from './kernel-modules.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'komadori-guest-parts-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('another cpio unpacks the archive as it was described', async () => {
  const archive = buildArchive([
    { path: 'bin', kind: 'folder', content: Buffer.alloc(0) },
    { path: 'bin/tool', kind: 'file', content: Buffer.from('abcde'), executable: true },
    { path: 'bin/other', kind: 'link', content: Buffer.from('tool') },
    { path: 'empty', kind: 'file', content: Buffer.alloc(0) },
  ]);
  const target = path.join(folder, 'unpacked');
  mkdirSync(target);
  await runCommand('busybox', ['cpio', '-i', '-d'], { cwd: target, input: archive });
  assert.equal(readFileSync(path.join(target, 'bin/tool'), 'utf8'), 'abcde');
  assert.equal(statSync(path.join(target, 'bin/tool')).mode & 0o777, 0o755);
  assert.equal(readlinkSync(path.join(target, 'bin/other')), 'tool');
  assert.equal(statSync(path.join(target, 'empty')).size, 0);
});

const moduleBytes = (depends: string): Buffer =>
  Buffer.from(`\u007fELF…license=GPL\0depends=${depends}\0name=x\0`, 'latin1');

test('a module comes after everything it needs, whatever its file is packed with', async () => {
  const modules = path.join(folder, 'modules/kernel');
  mkdirSync(modules, { recursive: true });
  writeFileSync(path.join(modules, 'top-level.ko'), moduleBytes('middle,builtin'));
  writeFileSync(path.join(modules, 'middle.ko.zst'), zstdCompressSync(moduleBytes('base')));
  writeFileSync(path.join(modules, 'base.ko'), moduleBytes(''));
  const found = await collectModules(path.join(folder, 'modules'), ['absent', 'top_level', 'base']);
  assert.deepEqual(
    found.map((module) => module.name),
    ['base', 'middle', 'top_level'],
  );
  assert.deepEqual(parseDependencies(found[1]!.bytes), ['base']);
  assert.deepEqual(parseDependencies(Buffer.from('nothing')), []);
});

test('the kernel behind a meta package is found, on Ubuntu with its modules', () => {
  assert.deepEqual(
    parseKernelDependencies('Depends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.1)\n'),
    ['linux-image-6.1.0-56-cloud-amd64'],
  );
  assert.deepEqual(parseKernelDependencies('Depends: linux-image-6.8.0-40-generic, x\n'), [
    'linux-image-6.8.0-40-generic',
    'linux-modules-6.8.0-40-generic',
  ]);
  assert.deepEqual(parseKernelDependencies('Depends: other\n'), []);
});

test('ldd’s lines tell what is loaded and what is missing', () => {
  const printed = `	linux-vdso.so.1 (0x00007fff)
	libglib-2.0.so.0 => /lib/x86_64-linux-gnu/libglib-2.0.so.0 (0x00007f)
	liburing.so.2 => not found
	/lib64/ld-linux-x86-64.so.2 (0x00007f)
`;
  assert.deepEqual(parseLoaded(printed), {
    files: ['/lib/x86_64-linux-gnu/libglib-2.0.so.0', '/lib64/ld-linux-x86-64.so.2'],
    missing: ['liburing.so.2'],
  });
});
