import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { OperationError } from '../../../../shared/errors.ts';
import {
  createCheckpoint,
  deleteCheckpoint,
  getCheckpointXml,
  listCheckpoints,
  lookupCheckpoint,
} from './checkpoint-calls.ts';
import { connectLibvirt } from './connect.ts';
import {
  getBlockInfo,
  getDomainMetadata,
  METADATA_TYPE,
  setDomainMetadata,
} from './device-calls.ts';
import {
  createDomain,
  defineDomain,
  destroyDomain,
  getDomainInfo,
  getDomainState,
  getDomainXml,
  isDomainPersistent,
  listAllDomains,
  lookupDomainByName,
  lookupDomainByUuid,
  PAUSED_REASON,
  resetDomain,
  resumeDomain,
  shutdownDomain,
  startDomain,
  suspendDomain,
  undefineDomain,
} from './domain-calls.ts';
import type { LibvirtEvent } from './events.ts';
import { freezeFileSystems, getFileSystems, thawFileSystems } from './guest-calls.ts';
import {
  formatLibvirtVersion,
  getCapabilities,
  getHostname,
  getHypervisorVersion,
  getLibVersion,
  getNodeInfo,
} from './host-calls.ts';
import {
  countHypervisorSnapshots,
  createHypervisorSnapshot,
  deleteHypervisorSnapshot,
  getHypervisorSnapshotXml,
  listHypervisorSnapshots,
  lookupHypervisorSnapshot,
  revertToHypervisorSnapshot,
} from './hypervisor-snapshot-calls.ts';
import { waitFor } from '../../../../shared/waiting.ts';
import { LibvirtError } from './libvirt-error.ts';
import { getSaveImageXml, hasManagedSave, restoreDomain, saveDomain } from './save-calls.ts';
import { getAllDomainStats, STATS } from './stats-calls.ts';
import { captureScreenshot } from './stream-calls.ts';

const UUID = 'aaaaaaaa-0000-4000-8000-000000000001';

const domainXml = (name: string, uuid: string): string => `
  <domain type='test'>
    <name>${name}</name><uuid>${uuid}</uuid><memory>8192</memory><vcpu>2</vcpu>
    <os><type>hvm</type></os>
    <devices>
      <disk type='file'><source file='/guest/a.img'/><target dev='vda'/></disk>
      <channel type='unix'>
        <target type='virtio' name='org.qemu.guest_agent.0' state='connected'/>
      </channel>
    </devices>
  </domain>`;

const hasCode = (code: string) => (error: unknown) =>
  error instanceof OperationError && error.code === code;

/** A hypervisor of its own: libvirt's test driver shares `default` between all its users. */
async function connectToTestDriver(context: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), 'komadori-rpc-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'node.xml');
  await writeFile(path, `<node>${domainXml('one', UUID)}</node>`);
  const connection = await connectLibvirt({ uri: `test://${path}`, timeoutMs: 10_000 });
  context.after(() => connection.close());
  return { connection, folder, domain: await lookupDomainByName(connection, 'one') };
}

test('the host describes itself', async (t) => {
  const { connection } = await connectToTestDriver(t);
  const version = await getLibVersion(connection);
  assert.ok(version >= 6_000_000);
  assert.match(formatLibvirtVersion(version), /^\d+\.\d+\.\d+$/);
  assert.equal(await getHypervisorVersion(connection), 2);
  assert.notEqual(await getHostname(connection), '');
  const node = await getNodeInfo(connection);
  assert.equal(node.model, 'i686');
  assert.equal(node.cpus, 16);
  assert.match(await getCapabilities(connection), /<capabilities>/);
});

test('domains are found, described, and missing ones are not_found', async (t) => {
  const { connection, domain } = await connectToTestDriver(t);
  assert.deepEqual(await listAllDomains(connection), [domain]);
  assert.deepEqual(await lookupDomainByUuid(connection, UUID), domain);
  assert.equal(domain.uuid, UUID);
  assert.match(await getDomainXml(connection, domain), /<name>one<\/name>/);
  assert.equal(await isDomainPersistent(connection, domain), true);
  const info = await getDomainInfo(connection, domain);
  assert.deepEqual([info.state, info.maxMemoryKib, info.vcpus], ['running', 8192, 2]);
  await assert.rejects(lookupDomainByName(connection, 'two'), (error) => {
    assert.ok(error instanceof LibvirtError);
    assert.deepEqual([error.code, error.libvirtName], ['not_found', 'no_domain']);
    return true;
  });
  const stats = await getAllDomainStats(connection, { stats: STATS.state });
  assert.deepEqual(stats[0]?.domain, domain);
  assert.equal(stats[0]?.params.get('state.state'), 1);
});

test('a life cycle is carried out and told in events', async (t) => {
  const { connection, domain } = await connectToTestDriver(t);
  const events: string[] = [];
  const last = Promise.withResolvers<void>();
  const subscription = await connection.subscribe({ kind: 'lifecycle' }, (event: LibvirtEvent) => {
    if (event.kind !== 'lifecycle') return;
    events.push(`${event.domain.name} ${event.event}`);
    if (events.at(-1) === 'three stopped') last.resolve();
  });
  await suspendDomain(connection, domain);
  assert.deepEqual(await getDomainState(connection, domain), {
    state: 'paused',
    reason: PAUSED_REASON.user,
  });
  await assert.rejects(suspendDomain(connection, domain), LibvirtError);
  await resumeDomain(connection, domain);
  await shutdownDomain(connection, domain);
  assert.equal((await getDomainState(connection, domain)).state, 'shut_off');
  const started = await startDomain(connection, domain);
  assert.ok(started.id > 0);
  await assert.rejects(startDomain(connection, domain), LibvirtError);
  await destroyDomain(connection, domain);
  const two = await defineDomain(
    connection,
    domainXml('two', 'aaaaaaaa-0000-4000-8000-000000000002'),
  );
  await undefineDomain(connection, two);
  const transient = await createDomain(
    connection,
    domainXml('three', 'aaaaaaaa-0000-4000-8000-000000000003'),
  );
  await resetDomain(connection, transient).catch((error: unknown) =>
    assert.ok(hasCode('host_incapable')(error)),
  );
  await destroyDomain(connection, transient);
  // An event may come after the reply to the call that caused it.
  await waitFor(last.promise, { timeoutMs: 10_000, what: 'The last event' });
  await subscription.close();
  await startDomain(connection, domain);
  assert.deepEqual(events, [
    'one suspended',
    'one resumed',
    'one stopped',
    'one started',
    'one stopped',
    'two defined',
    'two undefined',
    'three started',
    'three stopped',
  ]);
});

test('hypervisor snapshots and checkpoints are made, listed, read and deleted', async (t) => {
  const { connection, domain } = await connectToTestDriver(t);
  const snapshot = await createHypervisorSnapshot(connection, domain, {
    xml: '<domainsnapshot><name>s</name></domainsnapshot>',
  });
  assert.deepEqual(await listHypervisorSnapshots(connection, domain), [snapshot]);
  assert.equal(await countHypervisorSnapshots(connection, domain), 1);
  assert.deepEqual(await lookupHypervisorSnapshot(connection, domain, 's'), snapshot);
  assert.match(await getHypervisorSnapshotXml(connection, snapshot), /<name>s<\/name>/);
  await revertToHypervisorSnapshot(connection, snapshot);
  await deleteHypervisorSnapshot(connection, snapshot);
  assert.equal(await countHypervisorSnapshots(connection, domain), 0);

  const checkpoint = await createCheckpoint(connection, domain, {
    xml: '<domaincheckpoint><name>c</name></domaincheckpoint>',
  });
  assert.deepEqual(await listCheckpoints(connection, domain), [checkpoint]);
  assert.deepEqual(await lookupCheckpoint(connection, domain, 'c'), checkpoint);
  assert.match(await getCheckpointXml(connection, checkpoint), /<name>c<\/name>/);
  await deleteCheckpoint(connection, checkpoint);
  await assert.rejects(lookupCheckpoint(connection, domain, 'c'), hasCode('not_found'));
});

test('metadata is kept, read and removed, and tells in an event', async (t) => {
  const { connection, domain } = await connectToTestDriver(t);
  const { promise: told, resolve } = Promise.withResolvers<LibvirtEvent>();
  await connection.subscribe({ kind: 'metadata_change', domain }, resolve);
  const element = { domain, type: METADATA_TYPE.element, uri: 'urn:komadori', flags: 0 };
  const metadata = '<note>x</note>';
  await setDomainMetadata(connection, { ...element, metadata, key: 'k' });
  assert.match(await getDomainMetadata(connection, element), /<note>x<\/note>/);
  const event = await told;
  assert.ok(event.kind === 'metadata_change');
  assert.deepEqual([event.type, event.uri], ['element', 'urn:komadori']);
  await setDomainMetadata(connection, { ...element, metadata: null });
  await assert.rejects(getDomainMetadata(connection, element), hasCode('not_found'));
});

test('the guest and its devices answer', async (t) => {
  const { connection, domain } = await connectToTestDriver(t);
  const fileSystems = await getFileSystems(connection, domain);
  assert.deepEqual(fileSystems[0], { mountpoint: '/', name: 'vda1', type: 'ext4', disks: ['vda'] });
  assert.equal(await freezeFileSystems(connection, domain), 2);
  assert.equal(await thawFileSystems(connection, domain), 2);
  assert.ok((await getBlockInfo(connection, domain, 'vda')).capacityBytes > 0);
  const shot = await captureScreenshot(connection, domain);
  assert.equal(shot.mimeType, 'image/png');
  assert.equal(Buffer.from(shot.bytes).toString('latin1', 1, 4), 'PNG');
  // The end of the PNG proves that nothing was lost.
  assert.equal(Buffer.from(shot.bytes).toString('latin1').slice(-8, -4), 'IEND');
});

test('a domain is saved and restored', async (t) => {
  const { connection, domain, folder } = await connectToTestDriver(t);
  const path = join(folder, 'saved');
  assert.equal(await hasManagedSave(connection, domain), false);
  await saveDomain(connection, { domain, path, xml: null, flags: 0 });
  assert.equal((await getDomainState(connection, domain)).state, 'shut_off');
  assert.match(await getSaveImageXml(connection, path), /<name>one<\/name>/);
  await restoreDomain(connection, { path, xml: null, flags: 0 });
  assert.equal((await getDomainState(connection, domain)).state, 'running');
});

test('two hundred calls at once are all answered', async (t) => {
  const { connection, domain } = await connectToTestDriver(t);
  const answers = await Promise.all(
    Array.from({ length: 200 }, () => getDomainXml(connection, domain)),
  );
  assert.equal(new Set(answers).size, 1);
});
