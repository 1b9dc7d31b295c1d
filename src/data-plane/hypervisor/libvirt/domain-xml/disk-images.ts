import {
  childElements,
  createElement,
  findElement,
  putChild,
  readAttribute,
  removeChildren,
  writeAttribute,
  type XmlElement,
} from './xml-tree.ts';

export interface DiskImage {
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
}

export function diskElements(root: XmlElement): XmlElement[] {
  return childElements(findElement(root, 'devices'), 'disk');
}

export function diskTarget(disk: XmlElement): string {
  return readAttribute(findElement(disk, 'target'), 'dev') ?? '';
}

export function isRemovable(disk: XmlElement): boolean {
  return ['cdrom', 'floppy'].includes(readAttribute(disk, 'device') ?? 'disk');
}

/** What only describes the image that was there: its chain, access to it, jobs on it. */
const IMAGE_PARTS: readonly string[] = ['backingStore', 'mirror', 'auth', 'encryption'];

/** Points a disk at another image; everything that the guest sees of it stays. */
export function placeImage(disk: XmlElement, image: DiskImage): void {
  const isBlock = readAttribute(disk, 'type') === 'block' && image.path.startsWith('/dev/');
  writeAttribute(disk, 'type', isBlock ? 'block' : 'file');
  removeChildren(disk, (child) => IMAGE_PARTS.includes(child.name));
  putChild(disk, createElement('source', { [isBlock ? 'dev' : 'file']: image.path }));
  const driver = findElement(disk, 'driver') ?? createElement('driver', { name: 'qemu' });
  writeAttribute(driver, 'type', image.format);
  if (image.format === 'raw') {
    driver.attributes.delete('discard_no_unref');
    removeChildren(driver, (child) => child.name === 'metadata_cache');
  }
  putChild(disk, driver);
}

export function ejectMedium(disk: XmlElement): void {
  removeChildren(disk, (child) => child.name === 'source' || IMAGE_PARTS.includes(child.name));
  writeAttribute(disk, 'type', 'file');
}
