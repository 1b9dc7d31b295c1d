import { z } from 'zod';
import type { CapturePlan } from '../contract/preflight.ts';
import type { Vm } from '../contract/vms.ts';
import { vmStateSchema } from '../shared/inventory.ts';
import { addCommand, noOptions, repeatable } from './command.ts';
import type { CommandContext } from './command.ts';
import { findVm } from './find-things.ts';
import {
  formatExactTime,
  formatLabels,
  formatPause,
  formatSize,
  formatTime,
  orNone,
} from './formatting.ts';
import { printList } from './list-output.ts';
import type { CommandGroup } from './program.ts';
import { OperationError } from '../shared/errors.ts';
import { limitOption, limitSchema } from './shared-options.ts';
import { renderDetails, renderTable } from './table.ts';
import { tableWidth } from './terminal.ts';

export const addVmCommands: CommandGroup = (program, base) => {
  const parent = program.command('vm').description(base.text('vm.description'));
  addCommand(parent, base, {
    name: 'list',
    summary: 'vm.list',
    options: [
      { flags: '--state <state...>', meaning: 'option.state' },
      { flags: '--search <text>', meaning: 'option.search' },
      { flags: '--label <key=value...>', meaning: 'option.label' },
      { flags: '--gone', meaning: 'option.gone' },
      limitOption,
    ],
    schema: z.object({
      state: z.array(vmStateSchema).default([]),
      search: z.string().optional(),
      label: repeatable,
      gone: z.boolean().default(false),
      limit: limitSchema,
    }),
    run: async (context, _args, { limit, gone, ...filter }) => {
      const query = { ...filter, ...(gone ? {} : { present: true }) };
      await printList(context, await context.connect(), {
        operationId: 'vmList',
        args: { query },
        limit,
        columns: vmColumns(context),
        row: vmRow,
      });
    },
  });
  addCommand(parent, base, {
    name: 'show',
    summary: 'vm.show',
    args: [{ name: 'vm', meaning: 'arg.vm' }],
    schema: noOptions,
    run: async (context, [word = '']) => {
      const vm = await findVm(context, await context.connect(), word);
      if (context.json) context.printJson(vm);
      else printVm(context, vm);
    },
  });
  addCommand(parent, base, {
    name: 'preflight',
    summary: 'vm.preflight',
    args: [{ name: 'vm', meaning: 'arg.vm' }],
    options: captureOptions,
    schema: z.object(captureShape),
    run: async (context, [word = ''], { kind, quiesce, skipDisk }) => {
      const client = await context.connect();
      const vm = await findVm(context, client, word);
      const plan = await client.call(
        'vmPreflight',
        { params: { id: vm.id }, body: { kind, quiesce, skipDisks: skipDisk } },
        { signal: context.terminal.signal },
      );
      if (context.json) context.printJson(plan);
      else context.print(renderPlan(context, plan));
      const [problem] = plan.problems;
      if (!plan.possible)
        throw new OperationError(
          problem?.code ?? 'unsupported_vm',
          context.text('error.cannotCapture', { vm: vm.name }),
        );
    },
  });
};

export const captureOptions = [
  { flags: '--kind <kind>', meaning: 'option.kind', choices: ['full', 'disk'] },
  {
    flags: '--quiesce <policy>',
    meaning: 'option.quiesce',
    choices: ['require', 'prefer', 'never'],
  },
  { flags: '--skip-disk <target...>', meaning: 'option.skipDisk' },
] as const;

export const captureShape = {
  kind: z.enum(['full', 'disk']).default('full'),
  quiesce: z.enum(['require', 'prefer', 'never']).default('prefer'),
  skipDisk: repeatable,
};

const vmColumns = ({ text }: CommandContext) =>
  [
    { title: text('column.name'), shrinks: true },
    { title: text('column.state') },
    { title: text('column.host'), shrinks: true },
    { title: text('column.memory'), align: 'right' },
    { title: text('column.disks'), align: 'right' },
    { title: text('column.snapshots'), align: 'right' },
    { title: text('column.last') },
    { title: text('column.id') },
  ] as const;

const vmRow = (vm: Vm): string[] => [
  vm.name,
  vm.present ? vm.state : 'gone',
  vm.host.name,
  formatSize(vm.description.memoryBytes),
  formatSize(vm.description.disks.reduce((sum, disk) => sum + disk.sizeBytes, 0)),
  String(vm.snapshotCount),
  formatTime(vm.lastSnapshotAt),
  vm.id,
];

function printVm(context: CommandContext, vm: Vm): void {
  const { text } = context;
  const { description } = vm;
  context.print(
    renderDetails([
      [text('column.name'), vm.name],
      [text('column.id'), vm.id],
      [text('column.state'), vm.present ? vm.state : 'gone'],
      [text('column.host'), vm.host.name],
      [text('column.memory'), formatSize(description.memoryBytes)],
      [
        text('field.firmware'),
        [description.firmware, description.tpm ? 'TPM' : ''].join(' ').trim(),
      ],
      [text('field.agent'), description.agent],
      [text('field.labels'), formatLabels(vm.labels)],
      [text('column.snapshots'), String(vm.snapshotCount)],
      [text('column.last'), formatExactTime(vm.lastSnapshotAt)],
      [text('field.here'), vm.currentSnapshotId],
      [text('field.warning'), description.memoryObstacles.join('\n')],
    ]),
  );
  if (description.disks.length === 0) return;
  context.print('');
  context.print(
    renderTable(
      [
        { title: text('column.disks') },
        { title: text('column.format') },
        { title: text('column.size'), align: 'right' },
        { title: text('column.note'), shrinks: true },
      ],
      description.disks.map((disk) => [
        disk.target,
        disk.format,
        formatSize(disk.sizeBytes),
        orNone(disk.obstacle?.reason ?? disk.path),
      ]),
      tableWidth(context.terminal),
    ),
  );
}

export function renderPlan(context: CommandContext, plan: CapturePlan): string {
  const { text } = context;
  const details = renderDetails([
    [text('field.possible'), text(plan.possible ? 'word.yes' : 'word.no')],
    [text('column.level'), `${plan.level}: ${plan.levelReason}`],
    [
      text('column.memory'),
      plan.memoryMode ? `${formatSize(plan.memoryBytes)}, ${plan.memoryMode}` : null,
    ],
    [text('column.pause'), formatPause(plan.estimatedPauseMs)],
    [text('field.scratch'), formatSize(plan.scratchBytesNeeded)],
    [text('field.estimate'), formatSize(plan.repositoryBytesEstimated)],
    [text('column.free'), formatSize(plan.freeBytes)],
    [
      text('field.skipped'),
      plan.skipped.map((disk) => `${disk.target}: ${disk.reason}`).join('\n'),
    ],
    [text('field.problem'), plan.problems.map((one) => `${one.reason} ${one.whatToDo}`).join('\n')],
    [text('field.warning'), plan.warnings.map((one) => one.message).join('\n')],
    [text('field.plan'), plan.confirmationNeeded ? text('plan.confirmation') : null],
  ]);
  if (plan.disks.length === 0) return details;
  const disks = renderTable(
    [
      { title: text('column.disks') },
      { title: text('column.format') },
      { title: text('column.size'), align: 'right' },
      { title: text('column.note'), shrinks: true },
    ],
    plan.disks.map((disk) => [
      disk.target,
      disk.format,
      formatSize(disk.sizeBytes),
      orNone(disk.obstacle?.reason),
    ]),
    tableWidth(context.terminal),
  );
  return `${details}\n\n${disks}`;
}
