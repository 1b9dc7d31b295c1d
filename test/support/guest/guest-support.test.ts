import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { buildDomainXml } from './domain-xml.ts';
import { formatTestName, isLeftover } from './leftovers.ts';
import { followSerialLog } from './serial-log.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'komadori-guest-support-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('VMs of running test processes, and VMs of others, are no leftovers', () => {
  const name = formatTestName('two-words', 41, '0123abcd');
  const runs = (pid: number): boolean => pid === 42;
  assert.equal(isLeftover(name, runs), true);
  assert.equal(isLeftover(`${name}-clone`, runs), true);
  assert.equal(isLeftover(formatTestName('x', 42, '0123abcd'), runs), false);
  for (const other of ['web', 'kmd-test-web', 'my-kmd-test-x-41-0123abcd', 'kmd-test-x-41-']) {
    assert.equal(isLeftover(other, runs), false, other);
  }
});

test('the serial log joins lines that arrive in pieces and finds later ones only', async () => {
  const file = path.join(folder, 'serial.log');
  writeFileSync(file, '\u001bc\u001b[?7lfirmware\r\ntick 1\nti');
  const log = await followSerialLog(file);
  try {
    assert.deepEqual(
      log.lines().map((line) => line.text),
      ['firmware', 'tick 1'],
    );
    const waiting = log.waitForLine(/^tick/, { timeoutMs: 5000, since: log.next });
    appendFileSync(file, 'ck 2\n');
    assert.equal((await waiting).text, 'tick 2');
    assert.equal((await log.waitForLine('tick', { timeoutMs: 1 })).number, 1);
  } finally {
    await log.close();
  }
});

test('waiting ends with the last lines at its limit, and at once when aborted', async () => {
  const file = path.join(folder, 'quiet.log');
  writeFileSync(file, 'last words\n');
  const log = await followSerialLog(file);
  try {
    await assert.rejects(log.waitForLine('never', { timeoutMs: 20 }), /within 20 ms.*last words/);
    const controller = new AbortController();
    const waiting = log.waitForLine('never', { timeoutMs: 60_000, signal: controller.signal });
    controller.abort();
    await assert.rejects(waiting, /aborted/);
  } finally {
    await log.close();
  }
});

test('names from outside cannot break the domain XML', () => {
  const xml = buildDomainXml({
    name: `a<b>&'"`,
    uuid: '00000000-0000-4000-8000-000000000000',
    domainType: 'qemu',
    memoryMiB: 64,
    mode: 'idle',
    dirtyMiB: 1,
    agent: false,
    uefi: false,
    tpm: false,
    display: false,
    disks: [],
    serialPath: '/s',
    nvramPath: '/n',
    files: { folder: '/f', kernelPath: '/k', initramfsPath: '/i' },
  });
  assert.match(xml, /<name>a&lt;b&gt;&amp;&apos;&quot;<\/name>/);
});
