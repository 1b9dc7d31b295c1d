import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { PC_XML, Q35_XML, withSingleQuotes } from './domain-fixtures.ts';
import { readDomain } from './domain.ts';
import { prepareClone, prepareRollback } from './rewrite.ts';
import { formatXml, parseXml } from './xml-tree.ts';

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'komadori-xml-'));
const defined: string[] = [];

const virsh = async (...words: string[]): Promise<string> =>
  (await run('virsh', ['-q', '-c', 'qemu:///system', ...words], { timeout: 30_000 })).stdout;

after(async () => {
  for (const uuid of defined) await virsh('undefine', uuid, '--keep-nvram').catch(() => undefined);
  rmSync(folder, { recursive: true, force: true });
});

/** Defines a domain and returns what libvirt makes of it. */
async function define(xml: string): Promise<string> {
  const path = join(folder, `${randomUUID()}.xml`);
  writeFileSync(path, xml);
  defined.push(readDomain(xml).uuid);
  await virsh('define', path, '--validate');
  return await virsh('dumpxml', readDomain(xml).uuid, '--inactive', '--security-info');
}

describe('with a real libvirt', () => {
  const cases: [string, string][] = [
    ['pc', PC_XML.replace("type='kvm'", "type='qemu'")],
    ['q35', Q35_XML],
  ];
  for (const [name, fixture] of cases) {
    test(`libvirt takes original, clone and rollback of ${name} beside each other`, async () => {
      const suffix = randomUUID().slice(0, 8);
      const original = await define(
        prepareClone({
          xml: fixture,
          memoryXml: null,
          newName: `komadori-xml-${name}-${suffix}`,
          newUuid: randomUUID(),
          linksDown: false,
          diskPaths: new Map([
            ['vda', { path: `${folder}/vda`, format: 'qcow2' }],
            ['sda', { path: `${folder}/sda`, format: 'qcow2' }],
          ]),
          nvramPath: null,
        }).xml,
      );
      assert.equal(formatXml(parseXml(original)), withSingleQuotes(original));
      const before = readDomain(original);
      const [target] = before.disks;
      assert.ok(target);
      const clone = prepareClone({
        xml: original,
        memoryXml: original,
        newName: `komadori-写し-${name}-${suffix}`,
        newUuid: randomUUID(),
        linksDown: true,
        diskPaths: new Map([[target.target, { path: `${folder}/new & <img>`, format: 'raw' }]]),
        nvramPath: `${folder}/vars.fd`,
      });
      const copy = readDomain(await define(clone.xml));
      assert.equal(copy.name, `komadori-写し-${name}-${suffix}`);
      assert.equal(copy.disks[0]?.source.path, `${folder}/new & <img>`);
      assert.deepEqual(
        [copy.machineType, copy.memoryBytes, copy.tpm, copy.firmware.kind],
        [before.machineType, before.memoryBytes, before.tpm, before.firmware.kind],
      );
      assert.ok(copy.interfaces.every((nic) => nic.linkState === 'down'));
      assert.ok(copy.interfaces.every((nic, at) => nic.mac !== before.interfaces[at]?.mac));
      const back = prepareRollback({
        xml: original,
        memoryXml: null,
        diskPaths: new Map([[target.target, { path: `${folder}/back`, format: 'qcow2' }]]),
      });
      const rolled = readDomain(await define(back.xml));
      assert.equal(rolled.uuid, before.uuid);
      assert.equal(rolled.disks[0]?.source.path, `${folder}/back`);
    });
  }

  test('every domain that is defined here comes back unchanged', async () => {
    const names = (await virsh('list', '--all', '--uuid')).split('\n').filter(Boolean);
    for (const uuid of names) {
      // Other tests remove their domains meanwhile.
      const xml = await virsh('dumpxml', uuid).catch(() => null);
      if (xml === null) continue;
      assert.equal(formatXml(parseXml(xml)), withSingleQuotes(xml));
      assert.equal(readDomain(xml).uuid, uuid);
    }
  });
});
