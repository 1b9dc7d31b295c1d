import { issueToken } from '../../src/control-plane/access/tokens.ts';
import { openCatalog } from '../../src/control-plane/database/catalog.ts';
import type { Catalog, Writer } from '../../src/control-plane/database/catalog.ts';
import { reportHost } from '../../src/control-plane/database/hosts.ts';
import { insertBinding } from '../../src/control-plane/database/bindings.ts';
import { insertPrincipal } from '../../src/control-plane/database/principals.ts';
import { reportRepository } from '../../src/control-plane/database/repositories.ts';
import { reportVm, setVmLabels } from '../../src/control-plane/database/vms.ts';
import { GIB } from '../../src/shared/byte-size.ts';
import { newId } from '../../src/shared/ids.ts';
import type { MemoryMode } from '../../src/shared/inventory.ts';
import { HOST_ID, SEEDED_VMS, describeVm, vmId } from './seed-vms.ts';
import { seedRequests } from './seed-requests.ts';
import { seedTimeline } from './seed-timeline.ts';

const OTHER_HOST_ID = '0193b0f0-0000-7000-8000-000000000002';

const ROLES = { administrator: 'mika', operator: 'ken', approver: 'sora', viewer: 'rei' } as const;
export type Role = keyof typeof ROLES;

export interface Fleet {
  readonly tokens: Readonly<Record<Role, string>>;
  readonly vmId: string;
  readonly snapshotId: string;
  readonly jobId: string;
}

/** A small fleet with a history: what a person would find at nine in the morning. */
export async function seedFleet(options: { databasePath: string; url: string }): Promise<Fleet> {
  const catalog = await openCatalog({ path: options.databasePath });
  try {
    await catalog.write(async (tx) => {
      await seedInventory(tx);
    });
    const tokens = await seedPrincipals(catalog);
    const snapshotId = await seedTimeline(catalog);
    const jobId = await seedRequests(catalog, options.url, tokens);
    return { tokens, vmId: vmId(1), snapshotId, jobId };
  } finally {
    await catalog.close();
  }
}

async function reportHosts(tx: Writer): Promise<void> {
  const at = new Date().toISOString();
  const host = {
    state: 'ready',
    stateReason: null,
    room: {
      scratchFreeBytes: 180 * GIB,
      repositoryFreeBytes: 900 * GIB,
      scratchFloorBytes: 5 * GIB,
    },
    at,
  } as const;
  const description = {
    hostname: 'hv1',
    hypervisorVersion: '11.3.0',
    emulatorVersion: '10.0.2',
    cpus: 32,
    memoryBytes: 256 * GIB,
    memoryModes: ['background', 'pre-copy', 'stop-and-copy'] satisfies MemoryMode[],
    memoryModeHints: [],
  };
  await reportHost(tx, { ...host, id: HOST_ID, name: 'hv1', description });
  await reportHost(tx, {
    ...host,
    id: OTHER_HOST_ID,
    name: 'hv2',
    description: {
      ...description,
      hostname: 'hv2',
      memoryModes: ['pre-copy', 'stop-and-copy'],
      memoryModeHints: ['Write vm.unprivileged_userfaultfd = 1 to /etc/sysctl.d/komadori.conf.'],
    },
  });
}

/** Workers that live report; without them a host is silent. */
export async function reportHostsAlive(databasePath: string): Promise<void> {
  const catalog = await openCatalog({ path: databasePath });
  try {
    await catalog.write(reportHosts);
  } finally {
    await catalog.close();
  }
}

async function seedInventory(tx: Writer): Promise<void> {
  await reportHosts(tx);
  const at = new Date().toISOString();
  for (const [index, [name, changes, labels]] of SEEDED_VMS.entries()) {
    const seen = describeVm(index + 1, name, changes);
    await reportVm(tx, { hostId: HOST_ID, description: seen, at });
    await setVmLabels(tx, { vmId: seen.id, labels, at });
  }
  await reportRepository(tx, {
    id: 'main-repository',
    name: 'main',
    hostId: HOST_ID,
    location: '/var/lib/komadori/repository',
    state: 'ready',
    stateReason: null,
    statistics: {
      formatVersion: 1,
      encrypted: true,
      snapshots: 6,
      packs: 412,
      chunks: 1_250_000,
      storedBytes: 310 * GIB,
      uniqueBytes: 740 * GIB,
      freeBytes: 900 * GIB,
    },
    at,
  });
}

async function seedPrincipals(catalog: Catalog): Promise<Record<Role, string>> {
  const now = new Date();
  const token = async (role: Role): Promise<string> =>
    await catalog.write(async (tx) => {
      const id = newId(now.getTime());
      await insertPrincipal(tx, {
        id,
        name: ROLES[role],
        kind: 'user',
        at: now.toISOString(),
      });
      await insertBinding(tx, {
        id: newId(now.getTime()),
        principalId: id,
        roleId: role,
        effect: 'allow',
        scope: { kind: 'everything' },
        createdBy: { id: 'system', name: 'Komadori', kind: 'system' },
        at: now.toISOString(),
      });
      const wish = { principalId: id, name: 'laptop', rights: null, expiresAt: null };
      return (await issueToken(tx, wish, now)).secret;
    });
  return {
    administrator: await token('administrator'),
    operator: await token('operator'),
    approver: await token('approver'),
    viewer: await token('viewer'),
  };
}
