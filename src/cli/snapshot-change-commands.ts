import type { Command } from 'commander';
import { z } from 'zod';
import { OperationError } from '../shared/errors.ts';
import { addCommand, repeatable } from './command.ts';
import { confirmVm } from './confirm.ts';
import { findSnapshot } from './find-things.ts';
import { followRequest } from './follow-request.ts';
import { formatTime, parseExpiry, parseLabels } from './formatting.ts';
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
import { captureOptions, captureShape } from './vm-commands.ts';

const snapshotArg = [{ name: 'snapshot', meaning: 'arg.snapshot' }] as const;

export function addSnapshotChangeCommands(parent: Command, base: ProgramBase): void {
  addDelete(parent, base);
  addVerify(parent, base);
  addExport(parent, base);
  addEdit(parent, base);
}

export function addSnapshotCreateCommand(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'create',
    summary: 'snapshot.create',
    args: [{ name: 'vm', meaning: 'arg.vm' }],
    options: [
      { flags: '--name <name>', meaning: 'option.name' },
      { flags: '--description <text>', meaning: 'option.description' },
      ...captureOptions,
      { flags: '--label <key=value...>', meaning: 'option.label' },
      { flags: '--expires <when>', meaning: 'option.expires' },
      ...justificationOptions,
      ...waitOptions,
    ],
    schema: z.object({
      name: z.string().optional(),
      description: z.string().optional(),
      ...captureShape,
      label: repeatable,
      expires: z.string().optional(),
      ...justificationShape,
      ...waitShape,
    }),
    run: async (context, [vm = ''], options) => {
      const { name, description, kind, quiesce, skipDisk, label, expires } = options;
      const expiresAt =
        expires === undefined ? null : parseExpiry(expires, context.terminal.now(), context.text);
      const body = {
        vm,
        kind,
        quiesce,
        skipDisks: skipDisk,
        labels: parseLabels(label, context.text),
        ...(name === undefined ? {} : { name }),
        ...(description === undefined ? {} : { description }),
        ...(expiresAt === null ? {} : { expiresAt }),
        ...justificationOf(options),
      };
      const client = await context.connect();
      const { signal } = context.terminal;
      await followRequest(
        context,
        client,
        await client.call('snapshotCreate', { body }, { signal }),
        options,
      );
    },
  });
}

function addDelete(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'delete',
    summary: 'snapshot.delete',
    args: snapshotArg,
    options: [...confirmOptions, ...justificationOptions, ...waitOptions],
    schema: z.object({ ...confirmShape, ...justificationShape, ...waitShape }),
    run: async (context, [word = ''], options) => {
      const client = await context.connect();
      const snapshot = await findSnapshot(context, client, word);
      const consequence = context.text('confirm.delete', {
        snapshot: snapshot.name,
        vm: snapshot.vmName,
        time: formatTime(snapshot.capturedAt),
      });
      const confirmVmName = await confirmVm(context, [consequence], snapshot.vmName, options);
      const body = { confirmVmName, ...justificationOf(options) };
      const { signal } = context.terminal;
      const params = { id: snapshot.id };
      const asked = await client.call('snapshotDelete', { params, body }, { signal });
      await followRequest(context, client, asked, options);
    },
  });
}

function addVerify(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'verify',
    summary: 'snapshot.verify',
    args: snapshotArg,
    options: [...justificationOptions, ...waitOptions],
    schema: z.object({ ...justificationShape, ...waitShape }),
    run: async (context, [word = ''], options) => {
      const client = await context.connect();
      const { id } = await findSnapshot(context, client, word);
      const { signal } = context.terminal;
      const body = justificationOf(options);
      const asked = await client.call('snapshotVerify', { params: { id }, body }, { signal });
      await followRequest(context, client, asked, options);
    },
  });
}

function addExport(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'export',
    summary: 'snapshot.export',
    args: snapshotArg,
    options: [
      { flags: '--folder <path>', meaning: 'option.folder', required: true },
      { flags: '--format <format>', meaning: 'option.format', choices: ['qcow2', 'raw'] },
      { flags: '--include-memory', meaning: 'option.includeMemory' },
      ...justificationOptions,
      ...waitOptions,
    ],
    schema: z.object({
      folder: z.string(),
      format: z.enum(['qcow2', 'raw']).default('qcow2'),
      includeMemory: z.boolean().default(false),
      ...justificationShape,
      ...waitShape,
    }),
    run: async (context, [word = ''], options) => {
      const client = await context.connect();
      const { id } = await findSnapshot(context, client, word);
      const { folder, format, includeMemory } = options;
      const body = { folder, format, includeMemory, ...justificationOf(options) };
      const { signal } = context.terminal;
      const asked = await client.call('snapshotExport', { params: { id }, body }, { signal });
      await followRequest(context, client, asked, options);
    },
  });
}

const EDITS_MAX = 3;

function addEdit(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'edit',
    summary: 'snapshot.edit',
    args: snapshotArg,
    options: [
      { flags: '--description <text>', meaning: 'option.description' },
      { flags: '--label <key=value...>', meaning: 'option.label' },
      { flags: '--unlabel <key...>', meaning: 'option.unlabel' },
      { flags: '--pin', meaning: 'option.pin' },
      { flags: '--unpin', meaning: 'option.unpin' },
      { flags: '--expires <when>', meaning: 'option.expires' },
    ],
    schema: z.object({
      description: z.string().optional(),
      label: repeatable,
      unlabel: repeatable,
      pin: z.boolean().default(false),
      unpin: z.boolean().default(false),
      expires: z.string().optional(),
    }),
    run: async (context, [word = ''], options) => {
      const { text, terminal } = context;
      const client = await context.connect();
      const { id } = await findSnapshot(context, client, word);
      const added = parseLabels(options.label, text);
      const plain = {
        ...(options.description === undefined ? {} : { description: options.description }),
        ...(options.pin || options.unpin ? { pinned: options.pin } : {}),
        ...(options.expires === undefined
          ? {}
          : { expiresAt: parseExpiry(options.expires, terminal.now(), text) }),
      };
      const changesLabels = options.label.length > 0 || options.unlabel.length > 0;
      if (Object.keys(plain).length === 0 && !changesLabels)
        throw new OperationError('invalid_input', text('error.nothingToEdit'));
      const { signal } = terminal;
      // Labels are changed as a whole: read, change and try again if somebody else was quicker.
      for (let attempt = 1; ; attempt += 1) {
        const current = await client.ask('snapshotGet', { params: { id } }, { signal });
        const labels = { ...current.body.labels, ...added };
        for (const key of options.unlabel) delete labels[key];
        const body = { ...plain, ...(changesLabels ? { labels } : {}) };
        const ifMatch = current.etag ?? undefined;
        try {
          const changed = await client.call(
            'snapshotUpdate',
            { params: { id }, body },
            { signal, ifMatch },
          );
          if (context.json) context.printJson(changed);
          else context.print(text('done.edit', { snapshot: changed.name }));
          return;
        } catch (error) {
          const isStale = error instanceof OperationError && error.code === 'precondition_failed';
          if (!isStale || attempt >= EDITS_MAX) throw error;
        }
      }
    },
  });
}
