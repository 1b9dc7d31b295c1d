import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { OperationError } from '../../../../shared/errors.ts';
import { readDomain } from './domain.ts';
import { PC_XML, Q35_XML, withDevice, withDisk } from './domain-fixtures.ts';
import { backgroundObstacles, diskObstacle, memoryObstacles } from './obstacles.ts';

describe('reading a domain', () => {
  test('a running BIOS machine', () => {
    const domain = readDomain(PC_XML);
    assert.equal(domain.name, '経理サーバー & <db>');
    assert.equal(domain.uuid, '4dea22b3-1d52-d8f3-2516-782e98ab3fa0');
    assert.equal(domain.memoryBytes, 2 * 1024 ** 3);
    assert.equal(domain.vcpus, 2);
    assert.equal(domain.machineType, 'pc-i440fx-7.2');
    assert.equal(domain.domainType, 'kvm');
    assert.equal(domain.firmware.kind, 'bios');
    assert.equal(domain.agent, 'connected');
    assert.equal(domain.tpm, null);
    assert.ok(domain.hasGraphics && domain.hasVideo);
    assert.deepEqual(domain.commandLine, ['-global', 'isa-debugcon.iobase=0x402']);
    assert.deepEqual(domain.fileOutputs, [
      { device: 'serial', path: '/var/log/libvirt/qemu/db-serial.log' },
    ]);
    assert.deepEqual(domain.interfaces, [
      {
        mac: '52:54:00:11:22:33',
        type: 'user',
        model: 'virtio',
        linkState: 'up',
        hostDevice: 'vnet3',
      },
    ]);
    assert.deepEqual(
      domain.disks.map((disk) => [disk.target, disk.device, disk.source.type, disk.format]),
      [
        ['vda', 'disk', 'file', 'qcow2'],
        ['vdb', 'disk', 'block', 'raw'],
        ['hda', 'cdrom', 'file', 'raw'],
      ],
    );
    const [first] = domain.disks;
    assert.equal(first?.source.path, '/var/lib/libvirt/images/db & logs.overlay');
    assert.equal(first?.serial, 'DB-0001');
    assert.deepEqual(first?.backingChain, [
      { type: 'file', path: '/var/lib/libvirt/images/base.qcow2', format: 'qcow2' },
      { type: 'block', path: '/dev/vg0/golden', format: 'raw' },
    ]);
  });

  test('a UEFI machine with a TPM', () => {
    const domain = readDomain(Q35_XML);
    assert.equal(domain.memoryBytes, 4 * 1024 ** 3);
    assert.equal(domain.vcpus, 2);
    assert.deepEqual(domain.firmware, {
      kind: 'uefi',
      automatic: false,
      loaderPath: '/usr/share/OVMF/OVMF_CODE_4M.fd',
      nvramPath: '/var/lib/libvirt/qemu/nvram/win-build-01_VARS.fd',
      nvramFormat: 'raw',
      kernelPath: null,
      initrdPath: null,
    });
    assert.deepEqual(domain.tpm, {
      model: 'tpm-crb',
      backendType: 'emulator',
      version: '2.0',
      persistentState: true,
      encrypted: true,
      statePath: null,
    });
    assert.equal(domain.agent, 'absent');
    assert.ok(!domain.hasVideo && !domain.hasGraphics);
    assert.deepEqual(
      domain.interfaces.map((nic) => nic.linkState),
      ['up', 'down'],
    );
  });

  test('newer spellings of firmware', () => {
    const newer = readDomain(
      Q35_XML.replace(/<nvram .*<\/nvram>/, "<nvram type='file'><source file='/n/v'/></nvram>"),
    );
    assert.equal(newer.firmware.nvramPath, '/n/v');
    const kernel = Q35_XML.replace(/<loader[\s\S]*<\/nvram>/, '<kernel>/boot/vmlinuz</kernel>');
    assert.equal(readDomain(kernel).firmware.kind, 'direct-kernel');
    const automatic = readDomain(
      Q35_XML.replace('<os>', "<os firmware='efi'>").replace(/<loader[\s\S]*<\/nvram>/, ''),
    );
    assert.deepEqual([automatic.firmware.kind, automatic.firmware.nvramPath], ['uefi', null]);
  });

  test('what is no usable domain is refused with its reason', () => {
    const cases: [string, RegExp][] = [
      ['<network/>', /root is <network>/],
      [Q35_XML.replace(/<name>.*<\/name>/, ''), /no name/],
      [Q35_XML.replace('0a7d9d4e', 'zz'), /UUID/],
      [Q35_XML.replace("unit='GiB'>4<", "unit='furlong'>4<"), /memory size/],
      [Q35_XML.replace("unit='GiB'>4<", "unit='TiB'>99999999999<"), /memory size/],
      [Q35_XML.replace('<vcpu>2<', '<vcpu>many<'), /vCPU/],
    ];
    for (const [xml, message] of cases) {
      assert.throws(
        () => readDomain(xml),
        (error) =>
          error instanceof OperationError &&
          error.code === 'protocol_error' &&
          message.test(error.message),
      );
    }
  });
});

describe('obstacles', () => {
  const obstacleOf = (diskXml: string): string | undefined => {
    const [disk] = readDomain(withDisk(diskXml)).disks;
    assert.ok(disk);
    const obstacle = diskObstacle(disk);
    if (obstacle) assert.match(obstacle.reason, /^\S+ .*\.$/);
    return obstacle?.code;
  };
  const file = (inside: string, format = 'qcow2', device = 'disk'): string =>
    `<disk type='file' device='${device}'><driver type='${format}'/><source file='/i'/><target dev='vda'/>${inside}</disk>`;

  test('which disks are captured', () => {
    assert.equal(obstacleOf(file('')), undefined);
    assert.equal(obstacleOf(file('', 'raw')), undefined);
    assert.equal(
      obstacleOf("<disk type='block'><source dev='/dev/vg/x'/><target dev='vda'/></disk>"),
      undefined,
    );
  });

  test('each reason against capturing a disk', () => {
    const cases: [string, string][] = [
      ['not_a_disk', file('<readonly/>', 'raw', 'cdrom')],
      ['not_a_disk', "<disk type='file' device='floppy'><target dev='fda'/></disk>"],
      [
        'passthrough',
        "<disk type='block' device='lun'><source dev='/dev/sg'/><target dev='s'/></disk>",
      ],
      ['passthrough', "<disk type='nvme'><source type='pci'/><target dev='s'/></disk>"],
      [
        'passthrough',
        "<disk type='vhostuser'><source type='unix' path='/s'/><target dev='s'/></disk>",
      ],
      ['shareable', file('<shareable/>')],
      ['transient', file('<transient/>')],
      ['read_only', file('<readonly/>')],
      [
        'network',
        "<disk type='network'><source protocol='rbd' name='p/i'/><target dev='s'/></disk>",
      ],
      ['network', "<disk type='volume'><source pool='p' volume='v'/><target dev='s'/></disk>"],
      ['no_source', "<disk type='file' device='disk'><target dev='vda'/></disk>"],
      [
        'no_source',
        "<disk type='file'><source startupPolicy='optional'/><target dev='vda'/></disk>",
      ],
      ['format', file('', 'vmdk')],
      ['format', file('', 'luks')],
      ['format', file("<encryption format='luks'/>")],
      [
        'format',
        "<disk type='dir'><driver type='fat'/><source dir='/d'/><target dev='vda'/></disk>",
      ],
      ['format', "<disk type='future'><source x='y'/><target dev='vda'/></disk>"],
      [
        'format',
        "<disk type='file'><driver type='qcow2'/><source file='/i'><dataStore type='file'/></source><target dev='a'/></disk>",
      ],
      [
        'format',
        "<disk type='file'><driver type='raw'/><source file='/i'><slices><slice type='storage' offset='0' size='9'/></slices></source><target dev='a'/></disk>",
      ],
    ];
    for (const [code, xml] of cases) assert.equal(obstacleOf(xml), code, xml);
  });

  test('ordinary machines can have their memory captured', () => {
    for (const xml of [PC_XML, Q35_XML]) {
      assert.deepEqual(memoryObstacles(readDomain(xml)), []);
      assert.deepEqual(backgroundObstacles(readDomain(xml)), []);
    }
  });

  test('each reason against capturing memory is one sentence', () => {
    const devices = [
      "<hostdev mode='subsystem' type='pci'/>",
      "<hostdev mode='subsystem' type='mdev'/>",
      "<hostdev mode='subsystem' type='usb'/>",
      "<interface type='hostdev'/>",
      "<interface type='vdpa'/>",
      "<filesystem type='mount'><driver type='virtiofs'/><target dir='t'/></filesystem>",
      "<filesystem type='mount'><target dir='t'/></filesystem>",
      "<shmem name='s'><model type='ivshmem-plain'/></shmem>",
      "<video><driver name='vhostuser'/><model type='virtio'/></video>",
      "<memory model='nvdimm'/>",
      "<memory model='sgx-epc'/>",
    ];
    const documents = [
      ...devices.map(withDevice),
      Q35_XML.replace("<backend type='emulator'", "<backend type='passthrough'"),
      Q35_XML.replace('<devices>', "<launchSecurity type='sev'/><devices>"),
      Q35_XML.replace('<devices>', "<cpu mode='host-passthrough' migratable='off'/><devices>"),
      Q35_XML.replace(
        '</domain>',
        "<qemu:commandline xmlns:qemu='q'><qemu:arg value='vfio-pci,host=1'/></qemu:commandline></domain>",
      ),
    ];
    for (const xml of documents) {
      const reasons = memoryObstacles(readDomain(xml));
      assert.equal(reasons.length, 1, xml);
      assert.match(reasons[0] ?? '', /^[A-Z].*\.$/);
    }
  });

  test('a pinned TSC and private huge pages are told apart from obstacles', () => {
    const pinned = Q35_XML.replace(
      '<devices>',
      "<cpu mode='custom'><feature policy='require' name='invtsc'/></cpu><clock offset='utc'><timer name='tsc' frequency='2000000000'/></clock><devices>",
    );
    assert.deepEqual(memoryObstacles(readDomain(pinned)), []);
    const huge = Q35_XML.replace(
      '<devices>',
      '<memoryBacking><hugepages/></memoryBacking><devices>',
    );
    assert.deepEqual(memoryObstacles(readDomain(huge)), []);
    assert.equal(backgroundObstacles(readDomain(huge)).length, 1);
    const sharedFile = Q35_XML.replace(
      '<devices>',
      "<memoryBacking><source type='file'/></memoryBacking><cpu><numa><cell id='0' memAccess='shared'/></numa></cpu><devices>",
    );
    assert.equal(backgroundObstacles(readDomain(sharedFile)).length, 1);
    assert.equal(
      backgroundObstacles(readDomain(withDevice("<interface type='vhostuser'/>"))).length,
      1,
    );
  });
});
