import { z } from 'zod';
import { snapshotStateSchema } from '../contract/snapshots.ts';
import type { Snapshot } from '../contract/snapshots.ts';
import { isUuid } from '../shared/ids.ts';
import type { Command } from 'commander';
import { addCommand, noOptions, repeatable } from './command.ts';
import { findSnapshot } from './find-things.ts';
import { printList } from './list-output.ts';
import type { ProgramBase } from './program.ts';
import { limitOption, limitSchema } from './shared-options.ts';
import { arrangeTree, printSnapshot, snapshotColumns, snapshotRow } from './snapshot-view.ts';

export function addSnapshotReadCommands(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'list',
    summary: 'snapshot.list',
    args: [{ name: 'vm', meaning: 'option.vm', optional: true }],
    options: [
      { flags: '--state <state...>', meaning: 'option.state' },
      { flags: '--search <text>', meaning: 'option.search' },
      { flags: '--label <key=value...>', meaning: 'option.label' },
      { flags: '--tree', meaning: 'option.tree' },
      limitOption,
    ],
    schema: z.object({
      state: z.array(snapshotStateSchema).default([]),
      search: z.string().optional(),
      label: repeatable,
      tree: z.boolean().default(false),
      limit: limitSchema,
    }),
    run: async (context, [vm], { limit, tree, ...filter }) => {
      const indents = new Map<string, string>();
      const byTree = (snapshots: Snapshot[]): Snapshot[] =>
        arrangeTree(snapshots).map(({ snapshot, indent }) => {
          indents.set(snapshot.id, indent);
          return snapshot;
        });
      await printList(context, await context.connect(), {
        operationId: 'snapshotList',
        args: { query: { ...filter, ...vmFilter(vm) } },
        limit,
        columns: snapshotColumns(context),
        ...(tree ? { arrange: byTree } : {}),
        row: (snapshot) => snapshotRow(snapshot, indents.get(snapshot.id)),
      });
    },
  });
  addCommand(parent, base, {
    name: 'show',
    summary: 'snapshot.show',
    args: [{ name: 'snapshot', meaning: 'arg.snapshot' }],
    schema: noOptions,
    run: async (context, [word = '']) => {
      const snapshot = await findSnapshot(context, await context.connect(), word);
      if (context.json) context.printJson(snapshot);
      else printSnapshot(context, snapshot);
    },
  });
}

function vmFilter(vm: string | undefined): { vmId?: string; vmName?: string } {
  if (vm === undefined) return {};
  return isUuid(vm.toLowerCase()) ? { vmId: vm } : { vmName: vm };
}
