import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { OperationError } from '../../../../shared/errors.ts';
import { PC_XML, Q35_XML } from './domain-fixtures.ts';
import { readDomain } from './domain.ts';
import { redactDomainXml } from './redact.ts';
import { prepareClone, prepareRollback, type RandomBytes, setLinkState } from './rewrite.ts';
import { formatXml, parseXml } from './xml-tree.ts';

const NEW_UUID = '11111111-2222-4333-8444-555555555555';

const countingBytes = (): RandomBytes => {
  let next = 0;
  return (count) => Uint8Array.from({ length: count }, () => (next += 1));
};

const clone = (overrides: Partial<Parameters<typeof prepareClone>[0]> = {}) =>
  prepareClone({
    xml: PC_XML,
    memoryXml: PC_XML,
    newName: '写し <1>',
    newUuid: NEW_UUID,
    linksDown: false,
    diskPaths: new Map([
      ['vda', { path: '/new/a & b.qcow2', format: 'qcow2' }],
      ['vdb', { path: '/new/vdb.raw', format: 'raw' }],
    ]),
    nvramPath: null,
    random: countingBytes(),
    ...overrides,
  });

/** What changed, line by line, so that a test sees everything that a rewrite touches. */
function changedLines(before: string, after: string): { removed: string[]; added: string[] } {
  const lines = (xml: string): string[] =>
    formatXml(parseXml(xml))
      .split('\n')
      .map((line) => line.trim());
  const difference = (from: string[], without: string[]): string[] => {
    const left = [...without];
    return from.filter((line) => {
      const at = left.indexOf(line);
      if (at >= 0) left.splice(at, 1);
      return at < 0;
    });
  };
  const [old, now] = [lines(before), lines(after)];
  return { removed: difference(old, now), added: difference(now, old) };
}

describe('clone', () => {
  test('identity, images and collisions change; what the guest sees of its devices stays', () => {
    const { xml } = clone();
    const domain = readDomain(xml);
    assert.equal(domain.name, '写し <1>');
    assert.equal(domain.uuid, NEW_UUID);
    assert.deepEqual(
      domain.disks.map((disk) => [disk.target, disk.source.path, disk.format, disk.serial]),
      [
        ['vda', '/new/a & b.qcow2', 'qcow2', 'DB-0001'],
        ['vdb', '/new/vdb.raw', 'raw', null],
        ['hda', null, 'raw', null],
      ],
    );
    assert.deepEqual(domain.disks[0]?.backingChain, []);
    assert.match(domain.interfaces[0]?.mac ?? '', /^52:54:00:(?!11:22:33)/);
    const { removed, added } = changedLines(PC_XML, xml);
    assert.deepEqual(
      added.filter((line) => !line.startsWith('</') && !line.startsWith('<domain')),
      [
        '<name>写し &lt;1&gt;</name>',
        `<uuid>${NEW_UUID}</uuid>`,
        '<genid>01020304-0506-4708-890a-0b0c0d0e0f10</genid>',
        `<entry name='uuid'>${NEW_UUID}</entry>`,
        `<source file='/new/a &amp; b.qcow2'/>`,
        `<disk type='file' device='disk'>`,
        `<source file='/new/vdb.raw'/>`,
        `<mac address='52:54:00:11:12:13'/>`,
        `<log file='/var/log/libvirt/qemu/db-serial-写し &lt;1&gt;.log' append='on'/>`,
        `<console type='pty'>`,
        `<log file='/var/log/libvirt/qemu/db-serial-写し &lt;1&gt;.log' append='on'/>`,
        `<target type='virtio' name='org.qemu.guest_agent.0'/>`,
        `<graphics type='vnc' autoport='yes' listen='127.0.0.1' passwd='s3cret&amp;' keymap='ja'>`,
      ],
    );
    // Addresses, models, machine type, CPU, metadata and command line are not among what went.
    const kept = /<address|<model|<type|<cpu|libosinfo|qemu:arg|<serial>|<driver|<note/;
    assert.deepEqual(
      removed.filter((line) => kept.test(line)),
      [],
    );
    for (const gone of ['alias', '/dev/pts', 'vnet3', "id='7'", 'seclabel', 'domain-7-db']) {
      assert.ok(!xml.includes(gone), gone);
    }
  });

  test('the definition for the memory keeps addresses and media', () => {
    const { memoryXml } = clone();
    const memory = readDomain(memoryXml ?? '');
    assert.equal(memory.interfaces[0]?.mac, '52:54:00:11:22:33');
    assert.equal(memory.disks[2]?.source.path, '/srv/iso/debian.iso');
    assert.match(memoryXml ?? '', /startupPolicy='optional'/);
    assert.deepEqual(
      [memory.name, memory.uuid, memory.disks[0]?.source.path],
      ['写し <1>', NEW_UUID, '/new/a & b.qcow2'],
    );
  });

  test('disks that are not in the snapshot are left out, and keep memory from resuming', () => {
    const diskPaths = new Map([['vdb', { path: '/new/b', format: 'qcow2' as const }]]);
    const { xml } = clone({ diskPaths, memoryXml: null });
    assert.deepEqual(
      readDomain(xml).disks.map((disk) => disk.target),
      ['vdb', 'hda'],
    );
    assert.throws(
      () => clone({ diskPaths }),
      (error) => error instanceof OperationError && error.code === 'unsupported_disk',
    );
    const shared = PC_XML.replace('<serial>DB-0001</serial>', '<readonly/>');
    const kept = clone({ xml: shared, memoryXml: shared, diskPaths });
    for (const each of [kept.xml, kept.memoryXml ?? '']) {
      assert.equal(
        readDomain(each).disks[0]?.source.path,
        '/var/lib/libvirt/images/db & logs.overlay',
      );
    }
  });

  test('UEFI variables, TPM, links and log files of a machine that is off', () => {
    const { xml } = clone({
      xml: Q35_XML,
      memoryXml: null,
      newName: 'copy',
      linksDown: true,
      nvramPath: '/nv/copy.fd',
      diskPaths: new Map([['sda', { path: '/new/sda', format: 'raw' }]]),
    });
    const domain = readDomain(xml);
    assert.equal(domain.firmware.nvramPath, '/nv/copy.fd');
    assert.match(xml, /template='\/usr\/share\/OVMF\/OVMF_VARS_4M.fd'/);
    assert.equal(domain.tpm?.encrypted, true);
    assert.deepEqual(
      domain.interfaces.map((nic) => nic.linkState),
      ['down', 'down'],
    );
    assert.deepEqual(domain.fileOutputs, [
      { device: 'serial', path: '/var/log/win-serial-copy.log' },
    ]);
    assert.equal(new Set(domain.interfaces.map((nic) => nic.mac)).size, 2);
    const byLibvirt = clone({ xml: Q35_XML, memoryXml: null, newName: 'copy' });
    assert.equal(readDomain(byLibvirt.xml).firmware.nvramPath, null);
  });
});

describe('rollback, links and redaction', () => {
  test('a rollback changes images and the generation id only', () => {
    const { xml, memoryXml } = prepareRollback({
      xml: PC_XML,
      memoryXml: null,
      diskPaths: new Map([['vda', { path: '/back/a', format: 'raw' }]]),
      random: countingBytes(),
    });
    assert.equal(memoryXml, null);
    const { added } = changedLines(PC_XML, xml);
    assert.deepEqual(added, [
      '<genid>01020304-0506-4708-890a-0b0c0d0e0f10</genid>',
      `<driver name='qemu' type='raw' cache='none' discard='unmap'/>`,
      `<source file='/back/a'/>`,
    ]);
    const block = prepareRollback({
      xml: PC_XML,
      memoryXml: null,
      diskPaths: new Map([['vdb', { path: '/dev/vg0/data', format: 'raw' }]]),
    });
    assert.deepEqual(readDomain(block.xml).disks[1]?.source, {
      type: 'block',
      path: '/dev/vg0/data',
    });
  });

  test('link states', () => {
    const down = setLinkState(PC_XML, 'down');
    assert.deepEqual(changedLines(PC_XML, down).added, [`<link state='down'/>`]);
    assert.equal(readDomain(setLinkState(down, 'up')).interfaces[0]?.linkState, 'up');
  });

  test('no secret is shown, everything else is', () => {
    const secret = PC_XML.replace(
      '</devices>',
      "<disk type='network'><source protocol='https'><cookies><cookie name='c'>hush</cookie></cookies></source><target dev='vdz'/></disk></devices><sysinfo type='fwcfg'><entry name='opt/user'>hush</entry></sysinfo>",
    ).replace('isa-debugcon.iobase=0x402', 'secret,id=s,data=hush');
    const shown = redactDomainXml(secret);
    assert.doesNotMatch(shown, /hush|s3cret/);
    assert.match(shown, /passwd='\*\*\*'/);
    assert.equal(changedLines(secret, shown).removed.length, 3);
    assert.equal(redactDomainXml(Q35_XML), Q35_XML);
  });
});
