import type { z } from 'zod';
import { newVmNameSchema } from '../../contract/scalars.ts';
import type { snapshotRestoreInputSchema } from '../../contract/snapshot-inputs.ts';

export type RestoreMode = 'rollback' | 'new-vm';
export const START_CHOICES = ['as-captured', 'true', 'false'] as const;
export type StartChoice = (typeof START_CHOICES)[number];

export interface RestoreForm {
  readonly mode: RestoreMode;
  readonly safetySnapshot: boolean;
  readonly start: StartChoice;
  readonly confirmVmName: string;
  readonly newName: string;
  readonly linksDown: boolean;
  readonly startNew: boolean;
  readonly resumeMemory: boolean;
  readonly reason: string;
  readonly reference: string;
}

export const emptyRestoreForm = (mode: RestoreMode): RestoreForm => ({
  mode,
  safetySnapshot: true,
  start: 'as-captured',
  confirmVmName: '',
  newName: '',
  linksDown: true,
  startNew: false,
  resumeMemory: false,
  reason: '',
  reference: '',
});

export const parseStart = (text: string): StartChoice =>
  START_CHOICES.find((choice) => choice === text) ?? 'as-captured';

export const startChoice = (start: boolean | 'as-captured'): StartChoice =>
  start === 'as-captured' ? start : start ? 'true' : 'false';

export const isNewName = (name: string): boolean => newVmNameSchema.safeParse(name).success;

export function restoreBody(form: RestoreForm): z.input<typeof snapshotRestoreInputSchema> {
  const justification = {
    ...(form.reason.trim() === '' ? {} : { reason: form.reason.trim() }),
    ...(form.reference.trim() === '' ? {} : { reference: form.reference.trim() }),
  };
  if (form.mode === 'new-vm')
    return {
      mode: 'new-vm',
      name: form.newName,
      linksDown: form.linksDown,
      // Going on from memory is a start.
      start: form.startNew || form.resumeMemory,
      resumeMemory: form.resumeMemory,
      ...justification,
    };
  return {
    mode: 'rollback',
    safetySnapshot: form.safetySnapshot,
    start: form.start === 'as-captured' ? 'as-captured' : form.start === 'true',
    confirmVmName: form.confirmVmName,
    ...justification,
  };
}
