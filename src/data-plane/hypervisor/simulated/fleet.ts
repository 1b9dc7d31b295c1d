import { MIB, GIB } from '../../../shared/byte-size.ts';
import { formatUuid } from '../../../shared/ids.ts';
import type { SimulatedVmSpec } from './simulated-vm.ts';

const ROLES = [
  'web',
  'db',
  'cache',
  'mail',
  'build',
  'git',
  'ldap',
  'proxy',
  'monitor',
  '経理サーバー',
  '勤怠管理',
  '在庫DB',
  '受注システム',
  '社内Wiki',
  'ファイル共有',
];
const SITES = ['tokyo', 'osaka', 'fukuoka', 'sapporo'];
const STAGES = ['production', 'staging', 'test'];
const MEMORY_GIB = [1, 2, 4, 8, 16, 32];
const DISK_GIB = [10, 20, 40, 80, 200];

export type Random = () => number;

/** Mulberry32: small, and the same sequence for the same seed on every machine. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

export function randomUuid(random: Random): string {
  const bytes = Uint8Array.from({ length: 16 }, () => Math.floor(random() * 256));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return formatUuid(bytes);
}

const pick = <T>(random: Random, values: readonly [T, ...T[]] | readonly T[], fallback: T): T =>
  values[Math.floor(random() * values.length)] ?? fallback;

/** VMs as a company has them. Their images are sparse and their guests idle, so thousands cost little. */
export function planFleet(count: number, random: Random): SimulatedVmSpec[] {
  return Array.from({ length: count }, (_, index) => {
    const role = pick(random, ROLES, 'web');
    const site = pick(random, SITES, 'tokyo');
    const stage = pick(random, STAGES, 'test');
    const fate = random();
    const disks = Array.from({ length: 1 + Math.floor(random() * 2.5) }, (_disk, diskIndex) => ({
      sizeBytes: pick(random, DISK_GIB, 20) * GIB,
      format: diskIndex > 0 && random() < 0.3 ? ('raw' as const) : ('qcow2' as const),
    }));
    const isBroken = fate > 0.97;
    return {
      name: `${role}-${site}-${String(index + 1).padStart(4, '0')}`,
      state: fate < 0.78 ? 'running' : fate < 0.82 ? 'paused' : 'off',
      memoryBytes: fate < 0.02 ? 512 * MIB : pick(random, MEMORY_GIB, 2) * GIB,
      vcpus: 2 ** Math.floor(random() * 5),
      disks,
      agent: isBroken
        ? 'failing'
        : pick(random, ['connected', 'connected', 'disconnected', 'absent'], 'absent'),
      firmware: random() < 0.4 ? 'uefi' : 'bios',
      tpm: random() < 0.1,
      labels: { site, stage, role },
      writeEveryMs: null,
      hypervisorSnapshots: { internal: random() < 0.03 ? 1 : 0, external: 0 },
      memoryObstacles:
        random() < 0.03 ? ['A host device is passed through, and its state cannot be saved.'] : [],
    };
  });
}
