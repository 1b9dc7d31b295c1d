import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createTestGuest, type TestGuest } from '../support/guest/create-test-guest.ts';
import { readDiskIndependently } from '../support/guest/disks.ts';
import { askAgent, runVirsh } from '../support/guest/virsh.ts';

const LINE_TIMEOUT_MS = 120_000;

/**
 * Writes an older record to vdb behind the guest's back. The guest may be just about to overwrite
 * it, and then rightly sees nothing: so try until it does.
 */
async function provokeViolation(guest: TestGuest): Promise<boolean> {
  const write =
    'qemu-io -d /machine/peripheral/virtio-disk1/virtio-backend "write -P 0x30 1048576 4096"';
  for (let attempt = 0; attempt < 10; attempt += 1) {
    const since = guest.nextLine;
    await runVirsh(['qemu-monitor-command', guest.name, '--hmp', write]);
    await guest.waitForLine(/^(round \d+ ok|VIOLATION)/, {
      timeoutMs: LINE_TIMEOUT_MS,
      since: since + 2,
    });
    const seen = guest.serialLines(since).map((line) => line.text);
    if (seen.some((text) => /^VIOLATION round \d+ .*vdb has/.test(text))) return true;
  }
  return false;
}

describe('a guest in counter mode with an agent', () => {
  let guest: TestGuest;
  before(async () => {
    guest = await createTestGuest({ name: 'counter', mode: 'counter', agent: true });
  });
  after(async () => await guest?.destroy());

  test('ticks, and its count is on the disk', async () => {
    await guest.waitForLine(/^tick 3$/, { timeoutMs: LINE_TIMEOUT_MS });
    assert.match(await runVirsh(['domstate', guest.name]), /^running$/);
    const since = guest.nextLine;
    await runVirsh(['reset', guest.name]);
    const start = await guest.waitForLine(/^counter starts after \d+$/, {
      timeoutMs: LINE_TIMEOUT_MS,
      since,
    });
    assert.ok(Number(start.text.split(' ').at(-1)) >= 3, start.text);
  });

  test('its agent answers, and freezing its file system holds the counter still', async () => {
    await guest.waitForLine(/^tick/, { timeoutMs: LINE_TIMEOUT_MS, since: guest.nextLine });
    assert.deepEqual(await askAgent(guest.name, 'guest-ping'), {});
    assert.equal(await askAgent(guest.name, 'guest-fsfreeze-freeze'), 1);
    try {
      assert.equal(await askAgent(guest.name, 'guest-fsfreeze-status'), 'frozen');
      const held = guest.nextLine;
      await assert.rejects(
        guest.waitForLine(/^tick/, { timeoutMs: 1500, since: held + 1 }),
        /no line with/,
      );
    } finally {
      assert.equal(await askAgent(guest.name, 'guest-fsfreeze-thaw'), 1);
    }
    await guest.waitForLine(/^tick/, { timeoutMs: LINE_TIMEOUT_MS, since: guest.nextLine });
  });
});

describe('a guest in pattern mode', () => {
  let guest: TestGuest;
  before(async () => {
    guest = await createTestGuest({
      name: 'pattern',
      mode: 'pattern',
      disks: [
        { target: 'vda', format: 'qcow2', sizeMiB: 32, backing: true, content: 'random' },
        { target: 'vdb', format: 'raw', sizeMiB: 32 },
      ],
    });
  });
  after(async () => await guest?.destroy());

  test('agrees with itself, and reports a disk that was put back behind its memory', async () => {
    await guest.waitForLine(/^round 5 ok$/, { timeoutMs: LINE_TIMEOUT_MS });
    assert.deepEqual(
      guest.serialLines().filter((line) => line.text.startsWith('VIOLATION')),
      [],
    );
    assert.ok(await provokeViolation(guest), 'nothing was noticed');
  });

  test('its stopped disk reads the same twice and differs from the base below it', async () => {
    await runVirsh(['destroy', guest.name]);
    const first = await readDiskIndependently(guest.diskPath('vda'));
    assert.equal(await readDiskIndependently(guest.diskPath('vda')), first);
    assert.notEqual(await readDiskIndependently(path.join(guest.folder, 'vda-base.qcow2')), first);
  });

  test('leaves nothing behind', async () => {
    await guest.destroy();
    assert.equal(existsSync(guest.folder), false);
    assert.ok(!(await runVirsh(['list', '--all', '--name'])).includes(guest.name));
  });
});

test('a guest with UEFI and a TPM boots and writes to its NVRAM', async () => {
  const guest = await createTestGuest({ name: 'uefi', uefi: true, tpm: true });
  try {
    const texts = guest.serialLines().map((line) => line.text);
    assert.ok(texts.includes('firmware uefi boots=1'), texts.join('\n'));
    assert.ok(texts.includes('tpm version=2'), texts.join('\n'));
    const nvram = await readFile(path.join(guest.folder, 'nvram.fd'));
    assert.ok(nvram.includes(Buffer.from('KomadoriBoot1', 'utf16le')));
  } finally {
    await guest.destroy();
  }
});
