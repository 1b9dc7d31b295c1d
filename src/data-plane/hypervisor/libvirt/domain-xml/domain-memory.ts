import {
  childElements,
  findElement,
  readAttribute,
  readText,
  type XmlElement,
} from './xml-tree.ts';

export interface DomainMemory {
  /** `anonymous`, `file` or `memfd`. */
  readonly sourceType: string;
  /** Other processes can map the guest's memory: by its backing, or by one NUMA cell. */
  readonly shared: boolean;
  readonly hugePages: boolean;
  /** Models of plugged memory devices: `dimm`, `nvdimm`, `virtio-mem`, `virtio-pmem`, `sgx-epc`. */
  readonly deviceModels: readonly string[];
}

export function readMemory(root: XmlElement): DomainMemory {
  const backing = findElement(root, 'memoryBacking');
  const cells = childElements(findElement(root, 'cpu', 'numa'), 'cell');
  return {
    sourceType: readAttribute(findElement(backing, 'source'), 'type') ?? 'anonymous',
    shared:
      readAttribute(findElement(backing, 'access'), 'mode') === 'shared' ||
      cells.some((cell) => readAttribute(cell, 'memAccess') === 'shared'),
    hugePages: findElement(backing, 'hugepages') !== undefined,
    deviceModels: childElements(findElement(root, 'devices'), 'memory').map(
      (element) => readAttribute(element, 'model') ?? 'unknown',
    ),
  };
}

/** libvirt's scaled integers: `KB` is 1000, `KiB` and `K` are 1024; KiB when no unit is given. */
const UNIT_BYTES: ReadonlyMap<string, number> = new Map([
  ['b', 1],
  ['bytes', 1],
  ['byte', 1],
  ['kb', 1000],
  ['k', 1024],
  ['kib', 1024],
  ['mb', 1000 ** 2],
  ['m', 1024 ** 2],
  ['mib', 1024 ** 2],
  ['gb', 1000 ** 3],
  ['g', 1024 ** 3],
  ['gib', 1024 ** 3],
  ['tb', 1000 ** 4],
  ['t', 1024 ** 4],
  ['tib', 1024 ** 4],
]);

/** Null when the element is missing or holds no size that a number can carry. */
export function parseSizeBytes(element: XmlElement | undefined): number | null {
  const text = readText(element);
  if (text === null || !/^\d+$/.test(text)) return null;
  const unit = UNIT_BYTES.get((readAttribute(element, 'unit') ?? 'KiB').toLowerCase());
  if (unit === undefined) return null;
  const bytes = Number(text) * unit;
  return Number.isSafeInteger(bytes) ? bytes : null;
}
