import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { z } from 'zod';
import { OperationError } from '../shared/errors.ts';
import { configFileSchema, loadSettings, settingsSchema } from './settings.ts';

const PAGE = path.resolve(import.meta.dirname, '../../docs/operations/configuration.md');

interface JsonSchema {
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly oneOf?: readonly JsonSchema[];
  readonly anyOf?: readonly JsonSchema[];
  readonly default?: unknown;
}

/** Every key of a schema with its default, as `listen.port`. */
function listKeys(schema: JsonSchema, prefix = ''): Map<string, unknown> {
  const keys = new Map<string, unknown>();
  for (const variant of [schema, ...(schema.oneOf ?? []), ...(schema.anyOf ?? [])]) {
    for (const [name, inner] of Object.entries(variant.properties ?? {})) {
      const nested = listKeys(inner, `${prefix}${name}.`);
      if (nested.size === 0) keys.set(`${prefix}${name}`, inner.default);
      for (const [key, value] of nested) keys.set(key, value);
    }
  }
  return keys;
}

async function writeConfig(t: TestContext, content: object | string): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'komadori-settings-'));
  t.after(async () => await rm(folder, { recursive: true }));
  const file = path.join(folder, 'komadori.json');
  await writeFile(file, typeof content === 'string' ? content : JSON.stringify(content));
  return file;
}

test('the page on configuration has every key, no other, and the right defaults', async () => {
  const [page = ''] = (await readFile(PAGE, 'utf8')).split('\n## ');
  const rows = new Map(
    [...page.matchAll(/^\| `([\w.]+)` \| (.+?) \| .+ \|$/gm)].map((match) => [
      match[1] ?? '',
      match[2] ?? '',
    ]),
  );
  const keys = listKeys(z.toJSONSchema(configFileSchema, { io: 'input' }) as JsonSchema);
  assert.ok(keys.size > 15, 'the schema was not understood');
  assert.deepEqual([...rows.keys()].sort(), [...keys.keys()].sort());
  for (const [key, value] of keys) {
    // What the schema has no default for is explained in words; its place is tested below.
    if (value !== undefined) assert.equal(rows.get(key), `\`${JSON.stringify(value)}\``, key);
  }
});

test('what is left out lies in the data folder, as the page says', async (t) => {
  const configPath = await writeConfig(t, { dataFolder: '/srv/k' });
  const settings = settingsSchema.parse(await loadSettings({ configPath }));
  assert.deepEqual(settings.repository, {
    folder: '/srv/k/repository',
    encrypted: true,
    keyFile: '/srv/k/repository.key',
    passphraseFile: null,
  });
  assert.equal(settings.scratchFolder, '/srv/k/scratch');
  assert.deepEqual(settings.exportFolders, ['/srv/k/exports']);
  assert.equal(settings.databasePath, '/srv/k/catalog.sqlite');
  assert.deepEqual(settings.hypervisor, { kind: 'libvirt' });
});

test('options of the command win over the file', async (t) => {
  const configPath = await writeConfig(t, {
    dataFolder: '/srv/k',
    listen: { host: '192.0.2.1', port: 1, allowPlainHttp: true },
    hypervisor: { kind: 'libvirt', uri: 'qemu:///system' },
  });
  const settings = await loadSettings({
    configPath,
    dataFolder: '/srv/other',
    port: 2,
    simulated: true,
  });
  assert.deepEqual(settings.listen, {
    host: '192.0.2.1',
    port: 2,
    trustedProxies: [],
    allowPlainHttp: true,
  });
  assert.equal(settings.databasePath, '/srv/other/catalog.sqlite');
  assert.deepEqual(settings.hypervisor, { kind: 'simulated', vms: 12 });
});

test('a wrong file is refused, with its path and the key', async (t) => {
  const wrong: [object | string, RegExp][] = [
    [{ jobsAtOnec: 2 }, /jobsAtOnec/],
    [{ dataFolder: 'relative' }, /absolute path/],
    [{ listen: { port: 70_000 } }, /listen\.port/],
    [{ freezeDeadlineMs: 1 }, /freezeDeadlineMs/],
    ['[]', /not a JSON object/],
    ['{', /not a JSON object/],
  ];
  for (const [content, reason] of wrong) {
    const configPath = await writeConfig(t, content);
    await assert.rejects(loadSettings({ configPath }), (error: unknown) => {
      assert.ok(error instanceof OperationError && error.code === 'invalid_input');
      assert.match(error.message, reason);
      assert.ok(error.message.includes(configPath));
      return true;
    });
  }
});

test('a file that was named must be there', async () => {
  await assert.rejects(
    loadSettings({ configPath: path.join(tmpdir(), 'komadori-no-such-file.json') }),
    { code: 'invalid_input' },
  );
});
