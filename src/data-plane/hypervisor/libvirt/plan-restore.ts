import path from 'node:path';
import { OperationError } from '../../../shared/errors.ts';
import type { ClonePlan, CloneRequest, RollbackRequest } from '../driver.ts';
import type { DiskImage } from './domain-xml/disk-images.ts';
import type { DomainDisk } from './domain-xml/domain-disk.ts';
import { readDomain } from './domain-xml/domain.ts';
import { prepareClone, prepareRollback } from './domain-xml/rewrite.ts';

/** libvirt's own place for UEFI variables of system VMs. */
const NVRAM_FOLDER = '/var/lib/libvirt/qemu/nvram';

type Configuration = RollbackRequest['configuration'];

function definitionOf(configuration: Configuration): string {
  const xml = configuration.persistentXml ?? configuration.liveXml;
  if (xml === null) {
    throw new OperationError('snapshot_damaged', 'The snapshot holds no definition of its VM.');
  }
  return xml;
}

/** Content always comes back as one image without a backing file, in the format it was captured from. */
const formatOf = (disk: DomainDisk): DiskImage['format'] =>
  disk.format === 'qcow2' ? 'qcow2' : 'raw';

function findDisks(xml: string, targets: readonly string[]): DomainDisk[] {
  const { disks } = readDomain(xml);
  return targets.map((target) => {
    const disk = disks.find((candidate) => candidate.target === target);
    if (!disk) {
      throw new OperationError(
        'snapshot_damaged',
        `The definition in the snapshot has no disk ${target}.`,
      );
    }
    return disk;
  });
}

/** The same VM: disks go where the VM has them now, or had them when captured. */
export function planRollback(request: RollbackRequest, currentXml: string): ClonePlan {
  const definition = definitionOf(request.configuration);
  const current = readDomain(currentXml).disks;
  const images = new Map<string, DiskImage & { inPlace: boolean }>();
  for (const disk of findDisks(request.configuration.liveXml ?? definition, request.diskTargets)) {
    const now = current.find((candidate) => candidate.target === disk.target);
    const source = now?.source ?? disk.source;
    if (source.path === null) {
      throw new OperationError(
        'unsupported_disk',
        `Disk ${disk.target} has no file or device to restore to.`,
      );
    }
    const inPlace = source.type === 'block';
    const format = inPlace && now ? formatOf(now) : formatOf(disk);
    images.set(disk.target, { path: source.path, format, inPlace });
  }
  const rewritten = prepareRollback({
    xml: definition,
    memoryXml: request.configuration.memoryXml,
    diskPaths: images,
  });
  return {
    ...rewritten,
    disks: [...images].map(([target, image]) => ({ target, ...image })),
  };
}

export function planClone(request: CloneRequest): ClonePlan {
  const { configuration, newName, newVmId, linksDown, imageFolder } = request;
  const definition = definitionOf(configuration);
  const images = new Map<string, DiskImage>();
  for (const disk of findDisks(configuration.liveXml ?? definition, request.diskTargets)) {
    const format = formatOf(disk);
    const extension = format === 'qcow2' ? 'qcow2' : 'img';
    images.set(disk.target, {
      path: path.join(imageFolder, `${newName}-${disk.target}.${extension}`),
      format,
    });
  }
  const hasNvram = readDomain(configuration.liveXml ?? definition).firmware.nvramPath !== null;
  const rewritten = prepareClone({
    xml: definition,
    memoryXml: configuration.memoryXml,
    newName,
    newUuid: newVmId,
    linksDown,
    diskPaths: images,
    nvramPath: hasNvram ? path.join(NVRAM_FOLDER, `${newName}_VARS.fd`) : null,
  });
  return {
    ...rewritten,
    disks: [...images].map(([target, image]) => ({ target, ...image, inPlace: false })),
  };
}
