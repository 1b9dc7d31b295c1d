import { domainCommand, domainQuery, remoteCall, remoteCommand } from './call-shapes.ts';
import type { CallOptions } from './call-table.ts';
import type { LibvirtCaller } from './connection.ts';
import { REMOTE } from './procedures.ts';
import {
  type DomainRef,
  encodeDomain,
  encodeTypedParams,
  type TypedParamInput,
} from './wire-types.ts';

export const SAVE_FLAG = { bypassCache: 1, running: 2, paused: 4, resetNvram: 8 } as const;
export const SAVE_IMAGE_XML_FLAG = { secure: 1 } as const;
export const SAVE_PARAM = {
  file: 'file',
  xml: 'dxml',
  imageFormat: 'image_format',
  parallelChannels: 'parallel.channels',
} as const;

/** Stops the guest and writes its memory to a file on the host. Give it a long time limit. */
export async function saveDomain(
  libvirt: LibvirtCaller,
  request: { domain: DomainRef; path: string; xml: string | null; flags: number },
  options?: CallOptions,
): Promise<void> {
  const shape = remoteCommand(REMOTE.domainSaveFlags, 'virDomainSaveFlags', (encoder) => {
    encodeDomain(encoder, request.domain);
    encoder.string(request.path);
    encoder.optionalString(request.xml);
    encoder.uint32(request.flags);
  });
  await libvirt.call(shape, options);
}

/** libvirt 8.4 or later. */
export async function saveDomainWithParams(
  libvirt: LibvirtCaller,
  request: { domain: DomainRef; params: readonly TypedParamInput[]; flags: number },
  options?: CallOptions,
): Promise<void> {
  const shape = remoteCommand(REMOTE.domainSaveParams, 'virDomainSaveParams', (encoder) => {
    encodeDomain(encoder, request.domain);
    encodeTypedParams(encoder, request.params);
    encoder.uint32(request.flags);
  });
  await libvirt.call(shape, options);
}

/** `path` may be a FIFO: libvirt reads it to its end. Give it a long time limit. */
export async function restoreDomain(
  libvirt: LibvirtCaller,
  request: { path: string; xml: string | null; flags: number },
  options?: CallOptions,
): Promise<void> {
  const shape = remoteCommand(REMOTE.domainRestoreFlags, 'virDomainRestoreFlags', (encoder) => {
    encoder.string(request.path);
    encoder.optionalString(request.xml);
    encoder.uint32(request.flags);
  });
  await libvirt.call(shape, options);
}

/** libvirt 8.4 or later. */
export async function restoreDomainWithParams(
  libvirt: LibvirtCaller,
  request: { params: readonly TypedParamInput[]; flags: number },
  options?: CallOptions,
): Promise<void> {
  const shape = remoteCommand(REMOTE.domainRestoreParams, 'virDomainRestoreParams', (encoder) => {
    encodeTypedParams(encoder, request.params);
    encoder.uint32(request.flags);
  });
  await libvirt.call(shape, options);
}

export async function getSaveImageXml(
  libvirt: LibvirtCaller,
  path: string,
  flags = 0,
  options?: CallOptions,
): Promise<string> {
  const shape = remoteCall(
    REMOTE.domainSaveImageGetXmlDesc,
    'virDomainSaveImageGetXMLDesc',
    (encoder) => {
      encoder.string(path);
      encoder.uint32(flags);
    },
    (decoder) => decoder.string(),
  );
  return await libvirt.call(shape, options);
}

export async function hasManagedSave(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  options?: CallOptions,
): Promise<boolean> {
  const shape = domainQuery(
    REMOTE.domainHasManagedSaveImage,
    'virDomainHasManagedSaveImage',
    { domain, flags: 0 },
    (decoder) => decoder.int32() !== 0,
  );
  return await libvirt.call(shape, options);
}

export async function removeManagedSave(
  libvirt: LibvirtCaller,
  domain: DomainRef,
  options?: CallOptions,
): Promise<void> {
  const shape = domainCommand(
    REMOTE.domainManagedSaveRemove,
    'virDomainManagedSaveRemove',
    domain,
    0,
  );
  await libvirt.call(shape, options);
}
