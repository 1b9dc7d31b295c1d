import { randomBytes } from 'node:crypto';
import { OperationError } from '../../../../shared/errors.ts';
import { formatUuid } from '../../../../shared/ids.ts';
import {
  type DiskImage,
  diskElements,
  diskTarget,
  ejectMedium,
  isRemovable,
  placeImage,
} from './disk-images.ts';
import { dropRuntimeParts } from './runtime-parts.ts';
import {
  childElements,
  createElement,
  findElement,
  formatXml,
  parseXml,
  putChild,
  readAttribute,
  readText,
  removeChildren,
  writeAttribute,
  writeText,
  type XmlElement,
} from './xml-tree.ts';

export type RandomBytes = (count: number) => Uint8Array;

export interface CloneInput {
  /** The definition that the new VM gets. */
  readonly xml: string;
  /** The definition its memory is resumed with; null to start cold. */
  readonly memoryXml: string | null;
  readonly newName: string;
  readonly newUuid: string;
  readonly linksDown: boolean;
  /** Images by target; other writable disks are left out. */
  readonly diskPaths: ReadonlyMap<string, DiskImage>;
  /** Where the clone's UEFI variables lie; null lets libvirt choose and fill it from its template. */
  readonly nvramPath: string | null;
  readonly random?: RandomBytes;
}

export interface RewrittenDomain {
  readonly xml: string;
  readonly memoryXml: string | null;
}

/**
 * A definition that can stand beside the VM it came from. The memory's definition keeps what the
 * running guest has seen: MAC addresses (QEMU loads them from the stream anyway) and media.
 * Links that are down do not survive the loading of memory: QEMU takes the link state of virtio
 * interfaces from the stream, so the caller sets it again before the guest runs.
 */
export function prepareClone(input: CloneInput): RewrittenDomain {
  const random = input.random ?? randomBytes;
  const genid = randomUuid(random);
  const rewrite = (xml: string, isForMemory: boolean): string => {
    const document = parseXml(xml);
    const { root } = document;
    dropRuntimeParts(root, input.newName);
    renameDomain(root, input);
    renewGenerationId(root, genid);
    if (isForMemory) replaceMemoryDisks(root, input.diskPaths);
    else {
      replaceDisks(root, input.diskPaths);
      renewMacAddresses(root, random);
    }
    if (input.linksDown) setLinks(root, 'down');
    moveNvram(root, input.nvramPath);
    for (const backend of tpmBackends(root)) {
      removeChildren(backend, (child) => child.name === 'source');
    }
    return formatXml(document);
  };
  return {
    xml: rewrite(input.xml, false),
    memoryXml: input.memoryXml === null ? null : rewrite(input.memoryXml, true),
  };
}

/** The same VM with its disks at other images; disks that are not named stay as they are. */
export function prepareRollback(input: {
  xml: string;
  memoryXml: string | null;
  diskPaths: ReadonlyMap<string, DiskImage>;
  random?: RandomBytes;
}): RewrittenDomain {
  const genid = randomUuid(input.random ?? randomBytes);
  const rewrite = (xml: string): string => {
    const document = parseXml(xml);
    renewGenerationId(document.root, genid);
    for (const disk of diskElements(document.root)) {
      const image = input.diskPaths.get(diskTarget(disk));
      if (image !== undefined) placeImage(disk, image);
    }
    return formatXml(document);
  };
  return {
    xml: rewrite(input.xml),
    memoryXml: input.memoryXml === null ? null : rewrite(input.memoryXml),
  };
}

/** Plugs in or pulls the cable of every network interface. */
export function setLinkState(xml: string, state: 'up' | 'down'): string {
  const document = parseXml(xml);
  setLinks(document.root, state);
  return formatXml(document);
}

function setLinks(root: XmlElement, state: 'up' | 'down'): void {
  for (const element of childElements(findElement(root, 'devices'), 'interface')) {
    putChild(element, createElement('link', { state }));
  }
}

function renameDomain(root: XmlElement, { newName, newUuid }: CloneInput): void {
  const uuid = findElement(root, 'uuid');
  const oldUuid = readText(uuid);
  putChild(root, withText('name', newName));
  putChild(root, withText('uuid', newUuid));
  for (const sysinfo of childElements(root, 'sysinfo')) {
    for (const entry of childElements(findElement(sysinfo, 'system'), 'entry')) {
      const isUuid = readAttribute(entry, 'name') === 'uuid';
      if (isUuid && readText(entry)?.toLowerCase() === oldUuid?.toLowerCase()) {
        writeText(entry, newUuid);
      }
    }
  }
}

function withText(name: string, text: string): XmlElement {
  const element = createElement(name);
  writeText(element, text);
  return element;
}

/** Tells the guest that its time line forked: a generation id must change with every restore. */
function renewGenerationId(root: XmlElement, genid: string): void {
  const element = findElement(root, 'genid');
  if (element !== undefined) writeText(element, genid);
}

function replaceDisks(root: XmlElement, images: ReadonlyMap<string, DiskImage>): void {
  const devices = findElement(root, 'devices');
  if (devices === undefined) return;
  removeChildren(devices, (child) => child.name === 'disk' && isLeftOut(child, images));
  for (const disk of diskElements(root)) {
    const image = images.get(diskTarget(disk));
    if (image !== undefined) placeImage(disk, image);
    else if (isRemovable(disk)) ejectMedium(disk);
  }
}

/** Read-only disks are not part of a snapshot and can be shared. */
function isLeftOut(disk: XmlElement, images: ReadonlyMap<string, DiskImage>): boolean {
  return (
    !images.has(diskTarget(disk)) &&
    !isRemovable(disk) &&
    findElement(disk, 'readonly') === undefined
  );
}

function replaceMemoryDisks(root: XmlElement, images: ReadonlyMap<string, DiskImage>): void {
  for (const disk of diskElements(root)) {
    const image = images.get(diskTarget(disk));
    if (image !== undefined) placeImage(disk, image);
    else if (isLeftOut(disk, images)) {
      throw new OperationError(
        'unsupported_disk',
        `The disk ${diskTarget(disk)} is not in the snapshot, but the memory refers to it; restore without memory instead.`,
        { details: { target: diskTarget(disk) } },
      );
    } else {
      removeChildren(disk, (child) => child.name === 'backingStore');
      const source = findElement(disk, 'source');
      const isFile = (readAttribute(disk, 'type') ?? 'file') === 'file';
      // A medium that is gone must not keep the VM from resuming.
      if (source && isFile && isRemovable(disk))
        writeAttribute(source, 'startupPolicy', 'optional');
    }
  }
}

function renewMacAddresses(root: XmlElement, random: RandomBytes): void {
  const taken = new Set<string>();
  for (const element of childElements(findElement(root, 'devices'), 'interface')) {
    let mac = randomMac(random);
    // The limit only matters for a source of randomness that repeats itself.
    for (let tries = 0; taken.has(mac) && tries < 100; tries += 1) mac = randomMac(random);
    taken.add(mac);
    putChild(element, createElement('mac', { address: mac }));
  }
}

/** 52:54:00 is the prefix that QEMU and libvirt use for their own. */
function randomMac(random: RandomBytes): string {
  const tail = Array.from(random(3), (byte) => byte.toString(16).padStart(2, '0'));
  return ['52', '54', '00', ...tail].join(':');
}

function randomUuid(random: RandomBytes): string {
  const bytes = Uint8Array.from(random(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return formatUuid(bytes);
}

function moveNvram(root: XmlElement, path: string | null): void {
  const nvram = findElement(root, 'os', 'nvram');
  if (nvram === undefined) return;
  nvram.attributes.delete('type');
  if (path === null) nvram.children = [];
  else writeText(nvram, path);
}

function tpmBackends(root: XmlElement): XmlElement[] {
  return childElements(findElement(root, 'devices'), 'tpm').flatMap((tpm) =>
    childElements(tpm, 'backend'),
  );
}
