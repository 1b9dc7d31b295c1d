import type { Command } from 'commander';
import { z } from 'zod';
import { jobStateSchema } from '../contract/jobs.ts';
import type { Job } from '../contract/jobs.ts';
import { formatDuration } from '../shared/byte-size.ts';
import { OperationError } from '../shared/errors.ts';
import { addCommand, noOptions } from './command.ts';
import type { CommandContext } from './command.ts';
import { watchToEnd } from './follow-request.ts';
import { formatExactTime, formatTime, orNone } from './formatting.ts';
import { printList } from './list-output.ts';
import { describeProgress } from './progress-view.ts';
import type { CommandGroup, ProgramBase } from './program.ts';
import { limitOption, limitSchema } from './shared-options.ts';
import { renderDetails, renderTable } from './table.ts';
import { tableWidth } from './terminal.ts';

const jobArg = [{ name: 'job', meaning: 'arg.job' }] as const;

export const addJobCommands: CommandGroup = (program, base) => {
  const parent = program.command('job').description(base.text('job.description'));
  addJobList(parent, base);
  addCommand(parent, base, {
    name: 'show',
    summary: 'job.show',
    args: jobArg,
    schema: noOptions,
    run: async (context, [id = '']) => {
      const client = await context.connect();
      const { signal } = context.terminal;
      printJob(context, await client.call('jobGet', { params: { id } }, { signal }));
    },
  });
  addCommand(parent, base, {
    name: 'watch',
    summary: 'job.watch',
    args: jobArg,
    schema: noOptions,
    run: async (context, [id = '']) => {
      const client = await context.connect();
      const { signal } = context.terminal;
      const before = await client.call('jobGet', { params: { id } }, { signal });
      const { job } = await watchToEnd(context, client, before.requestId);
      const after = job ?? before;
      if (context.json) context.printJson(after);
      else context.print(context.text('done.jobOver', { id, state: after.state }));
      if (after.failure) throw new OperationError(after.failure.code, after.failure.message);
    },
  });
  addCommand(parent, base, {
    name: 'cancel',
    summary: 'job.cancel',
    args: jobArg,
    schema: noOptions,
    run: async (context, [id = '']) => {
      const client = await context.connect();
      const { signal } = context.terminal;
      const job = await client.call('jobCancel', { params: { id } }, { signal });
      if (context.json) context.printJson(job);
      else context.print(context.text('done.jobCancel', { id }));
    },
  });
};

function addJobList(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'list',
    summary: 'job.list',
    options: [{ flags: '--state <state...>', meaning: 'option.state' }, limitOption],
    schema: z.object({ state: z.array(jobStateSchema).default([]), limit: limitSchema }),
    run: async (context, _args, { limit, ...query }) => {
      const { text } = context;
      await printList(context, await context.connect(), {
        operationId: 'jobList',
        args: { query },
        limit,
        columns: [
          { title: text('column.operation') },
          { title: text('column.state') },
          { title: text('column.vm'), shrinks: true },
          { title: text('column.progress'), shrinks: true },
          { title: text('column.created') },
          { title: text('column.id') },
        ],
        row: (job) => [
          job.kind,
          job.state,
          orNone(job.vm?.name),
          job.state === 'running' ? describeProgress(context, job) : '-',
          formatTime(job.createdAt),
          job.id,
        ],
      });
    },
  });
}

function printJob(context: CommandContext, job: Job): void {
  const { text } = context;
  if (context.json) return context.printJson(job);
  context.print(
    renderDetails([
      [text('column.id'), job.id],
      [text('column.operation'), job.kind],
      [text('column.state'), job.state],
      [text('column.vm'), job.vm && job.vm.name],
      [text('column.snapshot'), job.snapshot && job.snapshot.name],
      [text('column.progress'), job.progress && describeProgress(context, job)],
      [text('column.created'), formatExactTime(job.createdAt)],
      [text('field.failure'), job.failure && `${job.failure.code}: ${job.failure.message}`],
    ]),
  );
  context.print('');
  context.print(
    renderTable(
      [
        { title: text('column.step') },
        { title: text('column.state') },
        { title: text('column.took'), align: 'right' },
        { title: text('column.error'), shrinks: true },
      ],
      job.steps.map((step) => [
        step.name,
        step.state,
        step.startedAt && step.finishedAt
          ? formatDuration(Date.parse(step.finishedAt) - Date.parse(step.startedAt))
          : '-',
        orNone(step.error?.message),
      ]),
      tableWidth(context.terminal),
    ),
  );
}
