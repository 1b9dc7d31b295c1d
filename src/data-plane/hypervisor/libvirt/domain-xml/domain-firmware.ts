import { findElement, readAttribute, readText, type XmlElement } from './xml-tree.ts';

export interface DomainFirmware {
  readonly kind: 'bios' | 'uefi' | 'direct-kernel';
  /** libvirt chooses loader and NVRAM template itself (`<os firmware='efi'>`). */
  readonly automatic: boolean;
  readonly loaderPath: string | null;
  /** Variable store; null when there is none, when it is not a file, or before libvirt chose one. */
  readonly nvramPath: string | null;
  readonly nvramFormat: string;
  readonly kernelPath: string | null;
  readonly initrdPath: string | null;
}

export function readFirmware(root: XmlElement): DomainFirmware {
  const os = findElement(root, 'os');
  const loader = findElement(os, 'loader');
  const nvram = findElement(os, 'nvram');
  const kernelPath = readText(findElement(os, 'kernel'));
  const loaderPath = readText(loader);
  const isUefi =
    readAttribute(os, 'firmware') === 'efi' ||
    readAttribute(loader, 'type') === 'pflash' ||
    nvram !== undefined;
  return {
    kind: isUefi ? 'uefi' : kernelPath === null ? 'bios' : 'direct-kernel',
    automatic: readAttribute(os, 'firmware') !== null,
    loaderPath,
    nvramPath: readNvramPath(nvram),
    nvramFormat: readAttribute(nvram, 'format') ?? 'raw',
    kernelPath,
    initrdPath: readText(findElement(os, 'initrd')),
  };
}

/** The path is text in old XML and `<source file=''/>` since libvirt 8.5. */
function readNvramPath(nvram: XmlElement | undefined): string | null {
  return readAttribute(findElement(nvram, 'source'), 'file') ?? readText(nvram);
}
