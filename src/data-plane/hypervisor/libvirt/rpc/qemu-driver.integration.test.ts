import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { OperationError } from '../../../../shared/errors.ts';
import {
  abortJob,
  beginBackup,
  getBackupXml,
  getJobInfo,
  getJobStats,
  JOB_OPERATION,
  JOB_STATS_FLAG,
} from './backup-calls.ts';
import { deleteCheckpoint, listCheckpoints } from './checkpoint-calls.ts';
import { connectLibvirt } from './connect.ts';
import type { LibvirtConnection } from './connection.ts';
import {
  attachDevice,
  DEVICE_FLAG,
  detachDevice,
  getBlockInfo,
  updateDevice,
} from './device-calls.ts';
import {
  CREATE_FLAG,
  defineDomain,
  destroyDomain,
  getDomainState,
  getDomainXml,
  resumeDomain,
  startDomain,
  suspendDomain,
  UNDEFINE_FLAG,
  undefineDomain,
  XML_FLAG,
} from './domain-calls.ts';
import type { EventKind, EventOf, EventSelection } from './events.ts';
import { freezeFileSystems } from './guest-calls.ts';
import { getDomainCapabilities } from './host-calls.ts';
import { qemuAgentCommand, qemuMonitorCommand } from './qemu-calls.ts';
import {
  getSaveImageXml,
  restoreDomain,
  restoreDomainWithParams,
  saveDomain,
  SAVE_PARAM,
  saveDomainWithParams,
} from './save-calls.ts';
import { getAllDomainStats, STATS } from './stats-calls.ts';
import {
  captureScreenshot,
  downloadVolume,
  lookupVolumeByPath,
  uploadVolume,
} from './stream-calls.ts';
import { type DomainRef, readNumberParam } from './wire-types.ts';

const run = promisify(execFile);
const EVENT_TIMEOUT_MS = 15_000;
const DISK_BYTES = 16 * 1024 * 1024;

const hasCode = (code: string) => (error: unknown) =>
  error instanceof OperationError && error.code === code;

const nicXml = (state: 'up' | 'down'): string =>
  `<interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/><link state='${state}'/></interface>`;

/** Nothing boots in it: firmware that finds no system is guest enough here. */
const domainXml = (folder: string, name: string): string => `
  <domain type='qemu'>
    <name>${name}</name><uuid>${randomUUID()}</uuid>
    <memory unit='MiB'>64</memory><vcpu>1</vcpu>
    <os><type machine='pc'>hvm</type></os>
    <features><acpi/></features>
    <devices>
      <disk type='file' device='disk'>
        <driver name='qemu' type='qcow2'/>
        <source file='${folder}/vda.qcow2'/><target dev='vda' bus='virtio'/>
      </disk>
      ${nicXml('up')}
      <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
      <video><model type='vga'/></video>
      <graphics type='vnc' socket='${folder}/vnc.sock'/>
    </devices>
  </domain>`;

/** The first event of that kind which fits. */
async function expectEvent<K extends EventKind>(
  connection: LibvirtConnection,
  selection: EventSelection & { readonly kind: K },
  fits: (event: EventOf<K>) => boolean = () => true,
): Promise<{ arrival: Promise<EventOf<K>> }> {
  const { promise, resolve, reject } = Promise.withResolvers<EventOf<K>>();
  const timer = setTimeout(
    () => reject(new Error(`no ${selection.kind} event came`)),
    EVENT_TIMEOUT_MS,
  );
  // Seen when awaited; a test that failed before that has said enough.
  promise.catch(() => undefined);
  await connection.subscribe(selection, (event) => {
    if (event.kind !== selection.kind || !fits(event as EventOf<K>)) return;
    clearTimeout(timer);
    resolve(event as EventOf<K>);
  });
  return { arrival: promise };
}

interface Setup {
  readonly connection: LibvirtConnection;
  readonly folder: string;
  readonly domain: DomainRef;
}

async function startQemuDomain(context: TestContext): Promise<Setup> {
  const folder = await mkdtemp(join(tmpdir(), 'komadori-rpc-'));
  // QEMU runs as a user of its own and makes files and sockets in here.
  await chmod(folder, 0o777);
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', `${folder}/vda.qcow2`, `${DISK_BYTES}`]);
  const connection = await connectLibvirt({ timeoutMs: 30_000 });
  const name = `komadori-rpc-${process.pid}-${randomUUID().slice(0, 8)}`;
  const defined = await defineDomain(connection, domainXml(folder, name));
  context.after(async () => {
    // Off already is as good as destroyed.
    await destroyDomain(connection, defined).catch(() => undefined);
    const { checkpointsMetadata, managedSave, snapshotsMetadata } = UNDEFINE_FLAG;
    await undefineDomain(
      connection,
      defined,
      checkpointsMetadata | managedSave | snapshotsMetadata,
    );
    await connection.close();
    await rm(folder, { recursive: true, force: true });
  });
  const domain = await startDomain(connection, defined, CREATE_FLAG.paused);
  return { connection, folder, domain };
}

test('a pull backup with a checkpoint begins, shows itself and ends', async (t) => {
  const { connection, folder, domain } = await startQemuDomain(t);
  const completed = await expectEvent(connection, { kind: 'job_completed', domain });
  await assert.rejects(getBackupXml(connection, domain), hasCode('not_found'));
  await beginBackup(connection, {
    domain,
    backupXml: `<domainbackup mode='pull'>
      <server transport='unix' socket='${folder}/nbd.sock'/>
      <disks><disk name='vda' backup='yes' type='file' exportname='vda'>
        <scratch file='${folder}/scratch'/></disk></disks></domainbackup>`,
    checkpointXml: `<domaincheckpoint><name>c1</name>
      <disks><disk name='vda' checkpoint='bitmap'/></disks></domaincheckpoint>`,
  });
  assert.match(await getBackupXml(connection, domain), /exportname='vda'/);
  assert.equal((await getJobInfo(connection, domain)).type, 'unbounded');
  const running = await getJobStats(connection, domain);
  assert.equal(readNumberParam(running.params, 'operation'), JOB_OPERATION.backup);
  const nbd = await run('nbdinfo', ['--size', `nbd+unix:///vda?socket=${folder}/nbd.sock`]);
  assert.equal(Number(nbd.stdout), DISK_BYTES);
  await abortJob(connection, domain);
  const event = await completed.arrival;
  assert.equal(event.params.get('operation'), JOB_OPERATION.backup);
  await getJobStats(connection, domain, JOB_STATS_FLAG.completed);
  const [checkpoint] = await listCheckpoints(connection, domain);
  assert.equal(checkpoint?.name, 'c1');
  await deleteCheckpoint(connection, checkpoint);
  assert.deepEqual(await listCheckpoints(connection, domain), []);
});

test('the QEMU monitor answers, and its events come through', async (t) => {
  const { connection, domain } = await startQemuDomain(t);
  const status = await qemuMonitorCommand(connection, domain, '{"execute":"query-status"}');
  assert.match(status, /"running":false/);
  const resumed = await expectEvent(connection, { kind: 'monitor', domain, event: 'RESUME' });
  const lifecycle = await expectEvent(
    connection,
    { kind: 'lifecycle', domain },
    (event) => event.event === 'resumed',
  );
  await resumeDomain(connection, domain);
  const event = await resumed.arrival;
  assert.equal(event.domain.uuid, domain.uuid);
  assert.ok(Math.abs(event.at.getTime() - Date.now()) < 60_000);
  assert.equal((await lifecycle.arrival).domain.name, domain.name);
  await suspendDomain(connection, domain);
  assert.equal((await getDomainState(connection, domain)).state, 'paused');
});

test('without a guest agent its calls say so', async (t) => {
  const { connection, domain } = await startQemuDomain(t);
  await resumeDomain(connection, domain);
  await assert.rejects(freezeFileSystems(connection, domain), hasCode('agent_unavailable'));
  const request = { command: '{"execute":"guest-ping"}', agentTimeoutSeconds: 1 };
  await assert.rejects(qemuAgentCommand(connection, domain, request), hasCode('agent_unavailable'));
});

test('devices are changed, added and removed', async (t) => {
  const { connection, folder, domain } = await startQemuDomain(t);
  const down = { domain, xml: nicXml('down'), flags: DEVICE_FLAG.live };
  await updateDevice(connection, down);
  assert.match(await getDomainXml(connection, domain), /<link state='down'\/>/);
  assert.equal((await getBlockInfo(connection, domain, 'vda')).capacityBytes, DISK_BYTES);
  await run('qemu-img', ['create', '-q', '-f', 'raw', `${folder}/vdb.raw`, '1M']);
  const disk = {
    domain,
    xml: `<disk type='file' device='disk'><driver name='qemu' type='raw'/>
      <source file='${folder}/vdb.raw'/><target dev='vdb' bus='virtio'/></disk>`,
    flags: DEVICE_FLAG.live,
  };
  const added = await expectEvent<'device_added'>(connection, { kind: 'device_added', domain });
  await attachDevice(connection, disk);
  assert.equal((await added.arrival).alias, 'virtio-disk1');
  const [stats] = await getAllDomainStats(connection, { stats: STATS.block, domains: [domain] });
  assert.equal(stats && readNumberParam(stats.params, 'block.count'), 2);
  // In the definition only: no guest here would answer a request to unplug.
  await attachDevice(connection, { ...disk, flags: DEVICE_FLAG.config });
  assert.match(await getDomainXml(connection, domain, XML_FLAG.inactive), /vdb/);
  await detachDevice(connection, { ...disk, flags: DEVICE_FLAG.config });
  assert.doesNotMatch(await getDomainXml(connection, domain, XML_FLAG.inactive), /vdb/);
  const shot = await captureScreenshot(connection, domain);
  assert.ok(shot.bytes.length > 1000);
  assert.match(await getDomainCapabilities(connection), /<domainCapabilities>/);
});

test('memory is saved and restored in both forms of the call', async (t) => {
  const { connection, folder, domain } = await startQemuDomain(t);
  const path = join(folder, 'saved');
  await saveDomain(connection, { domain, path, xml: null, flags: 0 });
  assert.match(await getSaveImageXml(connection, path), new RegExp(domain.uuid));
  await restoreDomain(connection, { path, xml: null, flags: 0 });
  assert.equal((await getDomainState(connection, domain)).state, 'paused');
  const params = [{ name: SAVE_PARAM.file, type: 'string', value: path } as const];
  await saveDomainWithParams(connection, { domain, params, flags: 0 });
  await restoreDomainWithParams(connection, { params, flags: 0 });
  assert.equal((await getDomainState(connection, domain)).state, 'paused');
});

test('volumes are uploaded and downloaded byte for byte, and streams end early without harm', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'komadori-rpc-'));
  const connection = await connectLibvirt();
  const pool = `komadori-rpc-${process.pid}`;
  await run('virsh', ['-c', 'qemu:///system', 'pool-create-as', pool, 'dir', '--target', folder]);
  t.after(async () => {
    await connection.close();
    await run('virsh', ['-c', 'qemu:///system', 'pool-destroy', pool]);
    await rm(folder, { recursive: true, force: true });
  });
  await run('virsh', ['-c', 'qemu:///system', 'vol-create-as', pool, 'v', '4M']);
  const volume = await lookupVolumeByPath(connection, `${folder}/v`);
  const content = Buffer.from(Array.from({ length: 1_000_003 }, (_, index) => (index * 31) % 251));
  const all = { offsetBytes: 0, lengthBytes: 0 };
  const source = async function* () {
    yield content.subarray(0, 600_000);
    yield content.subarray(600_000);
  };
  await uploadVolume(connection, volume, { ...all, source: source() }, { timeoutMs: 20_000 });
  const stored = await readFile(`${folder}/v`);
  assert.ok(stored.subarray(0, content.length).equals(content));
  const parts: Uint8Array[] = [];
  await downloadVolume(
    connection,
    volume,
    { offsetBytes: 5, lengthBytes: 700_000, maxBytes: 700_000, onData: (part) => parts.push(part) },
    { timeoutMs: 20_000 },
  );
  assert.ok(Buffer.concat(parts).equals(content.subarray(5, 700_005)));
  const tooMuch = { ...all, maxBytes: 1000, onData: () => undefined };
  await assert.rejects(
    downloadVolume(connection, volume, tooMuch, { timeoutMs: 20_000 }),
    hasCode('payload_too_large'),
  );
  const hanging = async function* () {
    yield content;
    await new Promise(() => undefined);
  };
  await assert.rejects(
    uploadVolume(connection, volume, { ...all, source: hanging() }, { timeoutMs: 100 }),
    hasCode('timed_out'),
  );
  assert.deepEqual(await lookupVolumeByPath(connection, `${folder}/v`), volume);
});
