import {
  childElements,
  findElement,
  readAttribute,
  readText,
  type XmlElement,
} from './xml-tree.ts';

export interface DiskSource {
  /** `file`, `block`, `network`, `volume`, `dir`, `nvme`, `vhostuser` or what newer versions add. */
  readonly type: string;
  /** File, device or socket path; null for sources without one. */
  readonly path: string | null;
}

export interface BackingImage extends DiskSource {
  readonly format: string;
}

export interface DomainDisk {
  /** libvirt's target name, unique in the VM: `vda`. */
  readonly target: string;
  /** `disk`, `cdrom`, `floppy` or `lun`. */
  readonly device: string;
  readonly bus: string | null;
  readonly source: DiskSource;
  /** False for a drive without a medium. */
  readonly hasSource: boolean;
  readonly format: string;
  readonly readOnly: boolean;
  readonly shareable: boolean;
  readonly transient: boolean;
  readonly serial: string | null;
  /** Images below the active one, nearest first, as far as the XML names them. */
  readonly backingChain: readonly BackingImage[];
  readonly encrypted: boolean;
  /** qcow2 with an external data file. */
  readonly hasDataStore: boolean;
  /** The XML shows a part of the image only (an offset and a size). */
  readonly hasSlice: boolean;
  /** A block job (copy or commit) of somebody is under way. */
  readonly hasBlockJob: boolean;
}

/** libvirt writes a format for whatever it has probed or was told; it treats no format as raw. */
const DEFAULT_FORMAT = 'raw';

export function readDisk(element: XmlElement): DomainDisk {
  const source = findElement(element, 'source');
  const target = findElement(element, 'target');
  const type = readAttribute(element, 'type') ?? 'file';
  return {
    target: readAttribute(target, 'dev') ?? '',
    device: readAttribute(element, 'device') ?? 'disk',
    bus: readAttribute(target, 'bus'),
    source: { type, path: readSourcePath(type, source) },
    hasSource: hasSource(type, source),
    format: readAttribute(findElement(element, 'driver'), 'type') ?? DEFAULT_FORMAT,
    readOnly: findElement(element, 'readonly') !== undefined,
    shareable: findElement(element, 'shareable') !== undefined,
    transient: findElement(element, 'transient') !== undefined,
    serial: readText(findElement(element, 'serial')),
    backingChain: readBackingChain(element),
    encrypted:
      findElement(element, 'encryption') !== undefined ||
      findElement(source, 'encryption') !== undefined,
    hasDataStore:
      findElement(source, 'dataStore') !== undefined ||
      findElement(element, 'dataStore') !== undefined,
    hasSlice: childElements(findElement(source, 'slices')).length > 0,
    hasBlockJob: findElement(element, 'mirror') !== undefined,
  };
}

function readSourcePath(type: string, source: XmlElement | undefined): string | null {
  switch (type) {
    case 'file':
      return readAttribute(source, 'file');
    case 'block':
      return readAttribute(source, 'dev');
    case 'dir':
      return readAttribute(source, 'dir');
    case 'vhostuser':
      return readAttribute(source, 'path');
    default:
      return null;
  }
}

function hasSource(type: string, source: XmlElement | undefined): boolean {
  if (source === undefined) return false;
  if (['file', 'block', 'dir', 'vhostuser'].includes(type)) {
    return (readSourcePath(type, source) ?? '') !== '';
  }
  return true;
}

function readBackingChain(disk: XmlElement): BackingImage[] {
  const chain: BackingImage[] = [];
  let layer = findElement(disk, 'backingStore');
  while (layer !== undefined) {
    const source = findElement(layer, 'source');
    // An empty <backingStore/> says that the chain ends here.
    if (source === undefined) break;
    const type = readAttribute(layer, 'type') ?? 'file';
    chain.push({
      type,
      path: readSourcePath(type, source),
      format: readAttribute(findElement(layer, 'format'), 'type') ?? DEFAULT_FORMAT,
    });
    layer = findElement(layer, 'backingStore');
  }
  return chain;
}
