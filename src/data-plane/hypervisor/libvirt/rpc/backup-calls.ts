import {
  decodeText,
  domainCommand,
  domainQuery,
  remoteCall,
  remoteCommand,
} from './call-shapes.ts';
import type { CallOptions } from './call-table.ts';
import type { LibvirtCaller } from './connection.ts';
import { REMOTE } from './procedures.ts';
import { decodeTypedParams, type DomainRef, encodeDomain, type TypedParams } from './wire-types.ts';
import type { XdrDecoder } from './xdr.ts';

const MAX_JOB_STATS = 64;

export const BACKUP_BEGIN_FLAG = { reuseExternal: 1 } as const;
export const ABORT_JOB_FLAG = { postcopy: 1 } as const;
export const JOB_STATS_FLAG = { completed: 1, keepCompleted: 2 } as const;

const JOB_TYPES = ['none', 'bounded', 'unbounded', 'completed', 'failed', 'cancelled'] as const;
export type JobType = (typeof JOB_TYPES)[number] | 'unknown';

/** VIR_DOMAIN_JOB_OPERATION_*, the `operation` parameter of job statistics. */
export const JOB_OPERATION = {
  unknown: 0,
  start: 1,
  save: 2,
  restore: 3,
  migrationIn: 4,
  migrationOut: 5,
  snapshot: 6,
  snapshotRevert: 7,
  dump: 8,
  backup: 9,
  snapshotDelete: 10,
} as const;

interface JobAmount {
  readonly totalBytes: bigint;
  readonly processedBytes: bigint;
  readonly remainingBytes: bigint;
}

/** Amounts are libvirt's estimates: they can overshoot, even wrap around. */
export interface JobInfo {
  readonly type: JobType;
  readonly elapsedMs: bigint;
  readonly remainingMs: bigint;
  readonly data: JobAmount;
  readonly memory: JobAmount;
  readonly file: JobAmount;
}

const jobType = (type: number): JobType => JOB_TYPES[type] ?? 'unknown';

const decodeAmount = (decoder: XdrDecoder): JobAmount => ({
  totalBytes: decoder.uint64(),
  processedBytes: decoder.uint64(),
  remainingBytes: decoder.uint64(),
});

/** Starts a backup job and, at the same instant, makes the checkpoint. */
export async function beginBackup(
  libvirt: LibvirtCaller,
  request: {
    domain: DomainRef;
    backupXml: string;
    checkpointXml: string | null;
    flags?: number;
  },
  options?: CallOptions,
): Promise<void> {
  const shape = remoteCommand(REMOTE.domainBackupBegin, 'virDomainBackupBegin', (encoder) => {
    encodeDomain(encoder, request.domain);
    encoder.string(request.backupXml);
    encoder.optionalString(request.checkpointXml);
    encoder.uint32(request.flags ?? 0);
  });
  await libvirt.call(shape, options);
}

/** Throws `not_found` when no backup job runs. */
export async function getBackupXml(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  options?: CallOptions,
): Promise<string> {
  const shape = domainQuery(
    REMOTE.domainBackupGetXmlDesc,
    'virDomainBackupGetXMLDesc',
    { domain, flags: 0 },
    decodeText,
  );
  return await libvirt.call(shape, options);
}

/** Returns when the job was told to stop; `job_completed` or getJobInfo tell when it did. */
export async function abortJob(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  options?: CallOptions,
): Promise<void> {
  const shape = remoteCommand(REMOTE.domainAbortJob, 'virDomainAbortJob', (encoder) =>
    encodeDomain(encoder, domain),
  );
  await libvirt.call(shape, options);
}

/** libvirt 8.5 or later. */
export async function abortJobWithFlags(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  flags: number,
  options?: CallOptions,
): Promise<void> {
  const shape = domainCommand(REMOTE.domainAbortJobFlags, 'virDomainAbortJobFlags', domain, flags);
  await libvirt.call(shape, options);
}

export async function getJobInfo(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  options?: CallOptions,
): Promise<JobInfo> {
  const shape = remoteCall(
    REMOTE.domainGetJobInfo,
    'virDomainGetJobInfo',
    (encoder) => encodeDomain(encoder, domain),
    (decoder) => ({
      type: jobType(decoder.int32()),
      elapsedMs: decoder.uint64(),
      remainingMs: decoder.uint64(),
      data: decodeAmount(decoder),
      memory: decodeAmount(decoder),
      file: decodeAmount(decoder),
    }),
  );
  return await libvirt.call(shape, options);
}

export async function getJobStats(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  flags = 0,
  options?: CallOptions,
): Promise<{ type: JobType; params: TypedParams }> {
  const shape = domainQuery(
    REMOTE.domainGetJobStats,
    'virDomainGetJobStats',
    { domain, flags },
    (decoder) => ({
      type: jobType(decoder.int32()),
      params: decodeTypedParams(decoder, MAX_JOB_STATS),
    }),
  );
  return await libvirt.call(shape, options);
}
