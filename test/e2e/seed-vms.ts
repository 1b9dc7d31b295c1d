import { GIB } from '../../src/shared/byte-size.ts';
import type { VmDescription } from '../../src/shared/inventory.ts';

export const HOST_ID = '0193b0f0-0000-7000-8000-000000000001';

export const vmId = (number: number): string =>
  `5f0c0b1e-6e0a-4f43-9d0e-${String(number).padStart(12, '0')}`;

export function describeVm(
  number: number,
  name: string,
  changes: Partial<VmDescription>,
): VmDescription {
  return {
    id: vmId(number),
    name,
    state: 'running',
    persistent: true,
    memoryBytes: 4 * GIB,
    vcpus: 2,
    machineType: 'pc-q35-9.2',
    domainType: 'kvm',
    disks: ['vda', 'vdb'].map((target, index) => ({
      target,
      sourceType: 'file',
      path: `/var/lib/libvirt/images/${name}-${target}.qcow2`,
      format: 'qcow2',
      sizeBytes: (index + 1) * 20 * GIB,
      allocatedBytes: (index + 1) * 3 * GIB,
      backingPaths: [],
      readOnly: false,
      obstacle: null,
    })),
    agent: 'connected',
    firmware: 'uefi',
    nvramPath: `/var/lib/libvirt/qemu/nvram/${name}_VARS.fd`,
    tpm: null,
    memoryObstacles: [],
    backgroundObstacles: [],
    hypervisorSnapshots: { internal: 0, external: 0 },
    jobActive: false,
    hasDisplay: true,
    ...changes,
  };
}

export const SEEDED_VMS: readonly (readonly [
  string,
  Partial<VmDescription>,
  Record<string, string>,
])[] = [
  ['web-01', {}, { tier: 'web', site: 'tokyo' }],
  ['web-02', {}, { tier: 'web', site: 'osaka' }],
  ['db-01', { memoryBytes: 32 * GIB, vcpus: 8 }, { tier: 'database', site: 'tokyo' }],
  ['db-02', { memoryBytes: 32 * GIB, vcpus: 8, state: 'off' }, { tier: 'database' }],
  ['mail-01', { agent: 'absent' }, { site: 'tokyo' }],
  ['build-07', { state: 'paused' }, {}],
  ['会計サーバー', { firmware: 'bios', nvramPath: null }, { tier: 'office' }],
  [
    'gpu-01',
    { memoryObstacles: ['The device 0000:01:00.0 is passed through; its memory cannot be read.'] },
    { tier: 'compute' },
  ],
];
