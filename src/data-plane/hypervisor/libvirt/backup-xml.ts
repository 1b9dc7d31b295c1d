import type { DiskDescription } from '../../../shared/inventory.ts';

const escapes: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  "'": '&apos;',
  '"': '&quot;',
};

export const escapeXml = (text: string): string =>
  text.replaceAll(/[&<>'"]/g, (character) => escapes[character] ?? character);

export interface BackupDisk {
  readonly target: string;
  readonly scratchPath: string;
  /** Name of the checkpoint since which changes are wanted; null for everything. */
  readonly incremental: string | null;
}

/**
 * A pull-mode backup of the given disks (https://libvirt.org/formatbackup.html); disks that are
 * not named stay out of it.
 */
export function formatBackupXml(options: {
  socketPath: string;
  disks: readonly BackupDisk[];
  otherTargets: readonly string[];
}): string {
  const captured = options.disks.map((disk) => {
    const mode = disk.incremental
      ? ` backupmode='incremental' incremental='${escapeXml(disk.incremental)}'`
      : " backupmode='full'";
    return (
      `<disk name='${escapeXml(disk.target)}' backup='yes' type='file'${mode}` +
      ` exportname='${escapeXml(disk.target)}'>` +
      `<driver type='qcow2'/><scratch file='${escapeXml(disk.scratchPath)}'/></disk>`
    );
  });
  const others = options.otherTargets.map(
    (target) => `<disk name='${escapeXml(target)}' backup='no'/>`,
  );
  return (
    `<domainbackup mode='pull'><server transport='unix' socket='${escapeXml(options.socketPath)}'/>` +
    `<disks>${captured.join('')}${others.join('')}</disks></domainbackup>`
  );
}

/** Bitmaps live in qcow2 only; null when no disk can hold one. */
export function formatCheckpointXml(options: {
  name: string;
  disks: readonly DiskDescription[];
  otherTargets: readonly string[];
}): string | null {
  if (!options.disks.some((disk) => disk.format === 'qcow2')) return null;
  const captured = options.disks.map((disk) => {
    const kind = disk.format === 'qcow2' ? 'bitmap' : 'no';
    return `<disk name='${escapeXml(disk.target)}' checkpoint='${kind}'/>`;
  });
  const others = options.otherTargets.map(
    (target) => `<disk name='${escapeXml(target)}' checkpoint='no'/>`,
  );
  return (
    `<domaincheckpoint><name>${escapeXml(options.name)}</name>` +
    `<disks>${captured.join('')}${others.join('')}</disks></domaincheckpoint>`
  );
}
