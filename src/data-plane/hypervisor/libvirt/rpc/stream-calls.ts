import { remoteCall, remoteCommand } from './call-shapes.ts';
import type { CallOptions, CallShape } from './call-table.ts';
import type { LibvirtCaller, LibvirtConnection } from './connection.ts';
import { REMOTE } from './procedures.ts';
import { receiveStream, sendStream, type TransferOptions } from './stream-transfer.ts';
import { type DomainRef, encodeDomain } from './wire-types.ts';

const MAX_SCREENSHOT_BYTES = 64 * 1024 * 1024;
const SCREENSHOT_TIMEOUT_MS = 30_000;

export interface VolumeRef {
  readonly pool: string;
  readonly name: string;
  readonly key: string;
}

export interface VolumeRange {
  readonly offsetBytes: number;
  /** 0: to the end. */
  readonly lengthBytes: number;
}

export interface Screenshot {
  /** E.g. `image/png` or `image/x-portable-pixmap`. */
  readonly mimeType: string | null;
  readonly bytes: Uint8Array;
}

/** Needs a running domain with a video device. */
export async function captureScreenshot(
  connection: LibvirtConnection,
  domain: DomainRef,
  options: Partial<TransferOptions> & { screen?: number } = {},
): Promise<Screenshot> {
  const shape = remoteCall(
    REMOTE.domainScreenshot,
    'virDomainScreenshot',
    (encoder) => {
      encodeDomain(encoder, domain);
      encoder.uint32(options.screen ?? 0);
      encoder.uint32(0);
    },
    (decoder) => decoder.optionalString(),
  );
  const parts: Uint8Array[] = [];
  const mimeType = await receiveStream(
    connection,
    shape,
    { maxBytes: MAX_SCREENSHOT_BYTES, onData: (bytes) => parts.push(bytes) },
    { timeoutMs: options.timeoutMs ?? SCREENSHOT_TIMEOUT_MS, signal: options.signal },
  );
  return { mimeType, bytes: Buffer.concat(parts) };
}

/** Throws `not_found` when the path belongs to no pool that libvirt knows. */
export async function lookupVolumeByPath(
  libvirt: LibvirtCaller,
  path: string,
  options?: CallOptions,
): Promise<VolumeRef> {
  const shape = remoteCall(
    REMOTE.storageVolLookupByPath,
    'virStorageVolLookupByPath',
    (encoder) => encoder.string(path),
    (decoder) => ({ pool: decoder.string(), name: decoder.string(), key: decoder.string() }),
  );
  return await libvirt.call(shape, options);
}

const transferCall = (
  procedure: number,
  name: string,
  volume: VolumeRef,
  range: VolumeRange,
): CallShape<undefined> =>
  remoteCommand(procedure, name, (encoder) => {
    encoder.string(volume.pool);
    encoder.string(volume.name);
    encoder.string(volume.key);
    encoder.uint64(BigInt(range.offsetBytes));
    encoder.uint64(BigInt(range.lengthBytes));
    encoder.uint32(0);
  });

/** `onData` must keep up: what it keeps waiting waits in memory. */
export async function downloadVolume(
  connection: LibvirtConnection,
  volume: VolumeRef,
  target: VolumeRange & { maxBytes: number; onData: (bytes: Uint8Array) => void },
  options: TransferOptions,
): Promise<void> {
  const shape = transferCall(REMOTE.storageVolDownload, 'virStorageVolDownload', volume, target);
  await receiveStream(connection, shape, target, options);
}

export async function uploadVolume(
  connection: LibvirtConnection,
  volume: VolumeRef,
  content: VolumeRange & { source: AsyncIterable<Uint8Array> },
  options: TransferOptions,
): Promise<void> {
  const shape = transferCall(REMOTE.storageVolUpload, 'virStorageVolUpload', volume, content);
  await sendStream(connection, shape, content.source, options);
}
