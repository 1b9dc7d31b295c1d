import { z } from 'zod';
import { addCommand, noOptions } from './command.ts';
import { followRequest } from './follow-request.ts';
import { formatSize, formatTime, orNone } from './formatting.ts';
import { printList } from './list-output.ts';
import type { CommandGroup } from './program.ts';
import { limitOption, limitSchema, waitOptions, waitShape } from './shared-options.ts';

export const addRepositoryCommands: CommandGroup = (program, base) => {
  const parent = program.command('repository').description(base.text('repository.description'));
  addCommand(parent, base, {
    name: 'status',
    summary: 'repository.status',
    schema: noOptions,
    run: async (context) => {
      const { text } = context;
      await printList(context, await context.connect(), {
        operationId: 'repositoryList',
        args: {},
        limit: 1000,
        columns: [
          { title: text('column.name'), shrinks: true },
          { title: text('column.state') },
          { title: text('column.snapshots'), align: 'right' },
          { title: text('column.unique'), align: 'right' },
          { title: text('column.stored'), align: 'right' },
          { title: text('column.free'), align: 'right' },
          { title: text('column.note'), shrinks: true },
          { title: text('column.id') },
        ],
        row: (repository) => [
          repository.name,
          repository.state,
          String(repository.snapshots),
          formatSize(repository.uniqueBytes),
          formatSize(repository.storedBytes),
          formatSize(repository.freeBytes),
          orNone(repository.stateReason ?? repository.location),
          repository.id,
        ],
      });
    },
  });
  addCommand(parent, base, {
    name: 'collect',
    summary: 'repository.collect',
    args: [{ name: 'repository', meaning: 'arg.repository' }],
    options: waitOptions,
    schema: z.object(waitShape),
    run: async (context, [id = ''], options) => {
      const client = await context.connect();
      const { signal } = context.terminal;
      const asked = await client.call('repositoryCollect', { params: { id } }, { signal });
      await followRequest(context, client, asked, options);
    },
  });
};

export const addHostCommands: CommandGroup = (program, base) => {
  const parent = program.command('host').description(base.text('host.description'));
  addCommand(parent, base, {
    name: 'list',
    summary: 'host.list',
    options: [limitOption],
    schema: z.object({ limit: limitSchema }),
    run: async (context, _args, { limit }) => {
      const { text } = context;
      await printList(context, await context.connect(), {
        operationId: 'hostList',
        args: {},
        limit,
        columns: [
          { title: text('column.name'), shrinks: true },
          { title: text('column.state') },
          { title: text('column.vms'), align: 'right' },
          { title: text('column.modes'), shrinks: true },
          { title: text('column.seen') },
          { title: text('column.note'), shrinks: true },
          { title: text('column.id') },
        ],
        row: (host) => [
          host.name,
          host.state,
          String(host.vmCount),
          orNone(host.description?.memoryModes.join(', ')),
          formatTime(host.lastSeenAt),
          orNone(host.stateReason ?? host.description?.memoryModeHints.join(' ')),
          host.id,
        ],
      });
    },
  });
};
