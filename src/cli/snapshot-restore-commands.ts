import type { Command } from 'commander';
import { z } from 'zod';
import { addCommand } from './command.ts';
import { confirmVm } from './confirm.ts';
import { findSnapshot } from './find-things.ts';
import { followRequest } from './follow-request.ts';
import { formatTime } from './formatting.ts';
import type { ProgramBase } from './program.ts';
import {
  confirmOptions,
  confirmShape,
  justificationOf,
  justificationOptions,
  justificationShape,
  waitOptions,
  waitShape,
} from './shared-options.ts';

const snapshotArg = [{ name: 'snapshot', meaning: 'arg.snapshot' }] as const;
const START = { yes: true, no: false, 'as-captured': 'as-captured' } as const;

export function addSnapshotRestoreCommands(parent: Command, base: ProgramBase): void {
  addRestore(parent, base);
  addClone(parent, base);
}

function addRestore(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'restore',
    summary: 'snapshot.restore',
    args: snapshotArg,
    options: [
      { flags: '--no-safety-snapshot', meaning: 'option.noSafety' },
      { flags: '--start <when>', meaning: 'option.start', choices: Object.keys(START) },
      ...confirmOptions,
      ...justificationOptions,
      ...waitOptions,
    ],
    schema: z.object({
      safetySnapshot: z.boolean().default(true),
      start: z.enum(['yes', 'no', 'as-captured']).default('as-captured'),
      ...confirmShape,
      ...justificationShape,
      ...waitShape,
    }),
    run: async (context, [word = ''], options) => {
      const { text } = context;
      const client = await context.connect();
      const snapshot = await findSnapshot(context, client, word);
      const consequences = [
        text('confirm.restore', {
          vm: snapshot.vmName,
          snapshot: snapshot.name,
          time: formatTime(snapshot.capturedAt),
        }),
        text(options.safetySnapshot ? 'confirm.safety' : 'confirm.noSafety'),
      ];
      const confirmVmName = await confirmVm(context, consequences, snapshot.vmName, options);
      const body = {
        mode: 'rollback',
        safetySnapshot: options.safetySnapshot,
        start: START[options.start],
        confirmVmName,
        ...justificationOf(options),
      } as const;
      const { signal } = context.terminal;
      const params = { id: snapshot.id };
      const asked = await client.call('snapshotRestore', { params, body }, { signal });
      await followRequest(context, client, asked, options);
    },
  });
}

function addClone(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'clone',
    summary: 'snapshot.clone',
    args: snapshotArg,
    options: [
      { flags: '--name <name>', meaning: 'option.newName', required: true },
      { flags: '--start', meaning: 'option.startNew' },
      { flags: '--resume-memory', meaning: 'option.resume' },
      { flags: '--links-up', meaning: 'option.linksUp' },
      { flags: '--image-folder <path>', meaning: 'option.imageFolder' },
      ...justificationOptions,
      ...waitOptions,
    ],
    schema: z.object({
      name: z.string(),
      start: z.boolean().default(false),
      resumeMemory: z.boolean().default(false),
      linksUp: z.boolean().default(false),
      imageFolder: z.string().optional(),
      ...justificationShape,
      ...waitShape,
    }),
    run: async (context, [word = ''], options) => {
      const client = await context.connect();
      const { id } = await findSnapshot(context, client, word);
      const body = {
        mode: 'new-vm',
        name: options.name,
        linksDown: !options.linksUp,
        start: options.start,
        resumeMemory: options.resumeMemory,
        ...(options.imageFolder === undefined ? {} : { imageFolder: options.imageFolder }),
        ...justificationOf(options),
      } as const;
      const { signal } = context.terminal;
      const asked = await client.call('snapshotRestore', { params: { id }, body }, { signal });
      await followRequest(context, client, asked, options);
    },
  });
}
