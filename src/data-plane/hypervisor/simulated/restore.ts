import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { OperationError } from '../../../shared/errors.ts';
import { throwIfAborted } from '../../../shared/waiting.ts';
import type { DiskPlacement, RestoreRequest, StagedRestore } from '../driver.ts';
import { copyExport } from './copy-export.ts';
import { TPM_STATE_FILE } from './capture.ts';
import { formatDomainXml, parseDomainXml } from './domain-xml.ts';
import { stopGuest } from './guest.ts';
import { createImage, overwriteImage, readInode } from './image-file.ts';
import { isActive } from './simulated-vm.ts';
import { tpmFolderOf, type SimulationContext } from './simulation-context.ts';
import { moveAllBack, moveAside, moveIn, stagedFileFor, type StagedFile } from './staged-files.ts';
import { defineVm, removeDefinition } from './vm-registry.ts';

const COPY_STEP_BYTES = 1024 * 1024;

export async function stageRestore(
  context: SimulationContext,
  request: RestoreRequest,
  onPlanned: (staged: StagedRestore) => Promise<void>,
  signal?: AbortSignal,
): Promise<StagedRestore> {
  const planned = planStaging(context, request);
  await onPlanned(planned);
  const files: StagedFile[] = [];
  const budget = { writtenBytes: 0 };
  for (const file of planned.files) {
    throwIfAborted(signal);
    mkdirSync(path.dirname(file.path), { recursive: true });
    rmSync(file.stagedPath, { force: true });
    const disk = request.disks.find((candidate) => candidate.path === file.path);
    if (disk) {
      createImage(context.store, file.stagedPath, disk.sizeBytes);
      await copyDisk(
        context,
        { disk, imagePath: file.stagedPath, vmId: request.vmId, budget },
        signal,
      );
    } else if (request.nvram) writeFileSync(file.stagedPath, request.nvram, { mode: 0o600 });
    files.push({ ...file, inode: readInode(file.stagedPath) });
  }
  if (planned.tpm && request.tpmState) {
    mkdirSync(planned.tpm.stagedPath, { recursive: true });
    writeFileSync(path.join(planned.tpm.stagedPath, TPM_STATE_FILE), request.tpmState);
  }
  return { ...planned, files };
}

function planStaging(context: SimulationContext, request: RestoreRequest): StagedRestore {
  const definition = parseDomainXml(request.xml);
  const paths = request.disks.filter((disk) => !disk.inPlace).map((disk) => disk.path);
  if (request.nvram && definition.nvramPath) paths.push(definition.nvramPath);
  const files = paths.map((filePath) => stagedFileFor(filePath, request.restoreId));
  const taken = files.find((file) => file.replaces);
  const sameName = context.store.findVmByName(definition.name);
  if (request.isNewVm && taken) {
    throw new OperationError(
      'name_taken',
      `${taken.path} exists already; choose another name or folder.`,
    );
  }
  if (request.isNewVm && (sameName || context.store.findVm(request.vmId))) {
    throw new OperationError(
      'name_taken',
      `A VM called ${definition.name} exists already; choose another name.`,
    );
  }
  const folder = tpmFolderOf(context.folder, request.vmId);
  const oldXml = request.isNewVm
    ? null
    : formatDomainXml(context.store.requireVm(request.vmId).definition);
  return {
    vmId: request.vmId,
    restoreId: request.restoreId,
    files,
    tpm: request.tpmState
      ? {
          path: folder,
          stagedPath: `${folder}.komadori-${request.restoreId}.new`,
          asidePath: `${folder}.komadori-${request.restoreId}.old`,
        }
      : null,
    inPlace: request.disks.filter((disk) => disk.inPlace),
    newXml: request.xml,
    oldXml,
  };
}

async function copyDisk(
  context: SimulationContext,
  copy: { disk: DiskPlacement; imagePath: string; vmId: string; budget: { writtenBytes: number } },
  signal?: AbortSignal,
): Promise<void> {
  const { disk, imagePath, vmId, budget } = copy;
  await copyExport(
    context,
    { source: disk.source, imagePath, sizeBytes: disk.sizeBytes },
    {
      signal,
      onCopied(lengthBytes) {
        budget.writtenBytes += lengthBytes;
        const isFull = context.store.takeFault(
          'stage_fails',
          vmId,
          (fault) => budget.writtenBytes >= fault.afterBytes,
        );
        if (!isFull) return;
        throw new OperationError('insufficient_space', `No room is left for ${disk.path}.`);
      },
    },
  );
}

/** Old files leave, the definition changes, new files come: in between the VM cannot start. */
export async function commitRestore(
  context: SimulationContext,
  staged: StagedRestore,
  signal?: AbortSignal,
): Promise<void> {
  const { store } = context;
  const definition = parseDomainXml(staged.newXml);
  const current = store.findVm(staged.vmId);
  if (current && isActive(current)) {
    throw new OperationError(
      'wrong_state',
      `${current.definition.name} must be off while its disks are replaced.`,
    );
  }
  let movedFiles = 0;
  const countMove = (): void => {
    const isDue = (fault: { afterFiles: number }): boolean => movedFiles >= fault.afterFiles;
    if (store.takeFault('commit_kills_process', staged.vmId, isDue)) {
      process.kill(process.pid, 'SIGKILL');
    }
    if (store.takeFault('commit_fails', staged.vmId, isDue)) {
      throw new OperationError('hypervisor_failed', 'The simulated commit failed between files.');
    }
    movedFiles += 1;
  };
  for (const file of staged.files) {
    throwIfAborted(signal);
    countMove();
    moveAside(file);
  }
  if (staged.tpm && existsSync(staged.tpm.stagedPath)) {
    const { path: tpmPath, asidePath, stagedPath } = staged.tpm;
    if (existsSync(tpmPath) && !existsSync(asidePath)) renameSync(tpmPath, asidePath);
    renameSync(stagedPath, tpmPath);
  }
  defineVm(context, definition);
  await overwriteDisks(context, staged.inPlace, signal);
  for (const file of staged.files) {
    countMove();
    moveIn(file);
  }
}

export async function overwriteDisks(
  context: SimulationContext,
  disks: readonly DiskPlacement[],
  signal?: AbortSignal,
): Promise<void> {
  for (const { path: imagePath, source, sizeBytes } of disks) {
    // What is not copied must read as zero, and block devices keep what they held.
    const zeroes = new Uint8Array(COPY_STEP_BYTES);
    for (let offset = 0; offset < sizeBytes; offset += COPY_STEP_BYTES) {
      throwIfAborted(signal);
      const bytes = zeroes.subarray(0, Math.min(COPY_STEP_BYTES, sizeBytes - offset));
      context.store.transaction(() => {
        overwriteImage(context.store, { imagePath, offset, bytes, protectedBy: [] });
      });
    }
    await copyExport(context, { source, imagePath, sizeBytes }, { signal });
  }
}

export function undoRestore(context: SimulationContext, staged: StagedRestore): void {
  const { store } = context;
  if (store.findVm(staged.vmId)) {
    stopGuest(store, staged.vmId, { state: 'off', reason: 'undoing a restore' });
  }
  if (staged.tpm) {
    rmSync(staged.tpm.stagedPath, { recursive: true, force: true });
    if (existsSync(staged.tpm.asidePath)) {
      rmSync(staged.tpm.path, { recursive: true, force: true });
      renameSync(staged.tpm.asidePath, staged.tpm.path);
    }
  }
  if (staged.oldXml === null) removeDefinition(context, staged.vmId);
  else defineVm(context, parseDomainXml(staged.oldXml));
  moveAllBack(staged.files);
}

export function discardStaged(staged: StagedRestore): void {
  for (const file of staged.files) rmSync(file.stagedPath, { force: true });
  if (staged.tpm) rmSync(staged.tpm.stagedPath, { recursive: true, force: true });
}

export function discardReplaced(staged: StagedRestore): void {
  for (const file of staged.files) rmSync(file.asidePath, { force: true });
  if (staged.tpm) rmSync(staged.tpm.asidePath, { recursive: true, force: true });
}
