import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { z } from 'zod';
import { auditOutcomeSchema, type auditEventListQuerySchema } from '../contract/audit-events.ts';
import { addAuditVerifyCommand } from './audit-verify-command.ts';
import { addCommand, type OptionSpec } from './command.ts';
import { formatExactTime, orNone, parseTime } from './formatting.ts';
import { printList } from './list-output.ts';
import type { CommandGroup, ProgramBase } from './program.ts';
import { limitOption, limitSchema } from './shared-options.ts';
import type { Terminal } from './terminal.ts';
import type { Translate } from './translate.ts';

const FILTER_OPTIONS: readonly OptionSpec[] = [
  { flags: '--action <action>', meaning: 'option.action' },
  { flags: '--actor <name>', meaning: 'option.auditActor' },
  { flags: '--resource-type <type>', meaning: 'option.auditResourceType' },
  { flags: '--resource-id <id>', meaning: 'option.auditResourceId' },
  { flags: '--resource-name <name>', meaning: 'option.auditResourceName' },
  {
    flags: '--outcome <outcome>',
    meaning: 'option.auditOutcome',
    choices: auditOutcomeSchema.options,
  },
  { flags: '--search <text>', meaning: 'option.auditSearch' },
  { flags: '--since <time>', meaning: 'option.since' },
  { flags: '--until <time>', meaning: 'option.auditUntil' },
];

const filterSchema = z.object({
  action: z.string().optional(),
  actor: z.string().optional(),
  resourceType: z.string().optional(),
  resourceId: z.string().optional(),
  resourceName: z.string().optional(),
  outcome: auditOutcomeSchema.optional(),
  search: z.string().optional(),
  since: z.string().optional(),
  until: z.string().optional(),
});

function readFilter(
  options: z.output<typeof filterSchema>,
  text: Translate,
): z.input<typeof auditEventListQuerySchema> {
  const { actor, since, until, ...same } = options;
  return {
    ...same,
    ...(actor !== undefined && { actorName: actor }),
    ...(since !== undefined && { after: parseTime('--since', since, text) }),
    ...(until !== undefined && { before: parseTime('--until', until, text) }),
  };
}

export const addAuditCommands: CommandGroup = (program, base) => {
  const parent = program.command('audit').description(base.text('audit.description'));
  addCommand(parent, base, {
    name: 'list',
    summary: 'audit.list',
    options: [
      ...FILTER_OPTIONS,
      { flags: '--order <order>', meaning: 'option.auditOrder', choices: ['newest', 'oldest'] },
      limitOption,
    ],
    schema: filterSchema.extend({
      order: z.enum(['newest', 'oldest']).optional(),
      limit: limitSchema,
    }),
    run: async (context, _args, { order, limit, ...filter }) => {
      const { text } = context;
      const query = { ...readFilter(filter, text), ...(order && { order }) };
      await printList(context, await context.connect(), {
        operationId: 'auditEventList',
        args: { query },
        limit,
        columns: [
          { title: '#', align: 'right' },
          { title: text('column.time') },
          { title: text('column.actor'), shrinks: true },
          { title: text('column.action') },
          { title: text('column.what'), shrinks: true },
          { title: text('column.outcome') },
          { title: text('field.reason'), shrinks: true },
        ],
        row: (event) => [
          String(event.sequence),
          formatExactTime(event.at),
          event.actor.name,
          event.action,
          `${event.resourceType} ${orNone(event.resourceName ?? event.resourceId)}`,
          event.outcome,
          orNone(event.reason),
        ],
      });
    },
  });
  addAuditExportCommand(parent, base);
  addAuditVerifyCommand(parent, base);
};

function addAuditExportCommand(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'export',
    summary: 'audit.export',
    options: [
      ...FILTER_OPTIONS,
      { flags: '--format <format>', meaning: 'option.auditFormat', choices: ['jsonl', 'csv'] },
      { flags: '--output <file>', meaning: 'option.auditOutput' },
    ],
    schema: filterSchema.extend({
      format: z.enum(['jsonl', 'csv']).default('jsonl'),
      output: z.string().min(1).optional(),
    }),
    run: async (context, _args, { format, output, ...filter }) => {
      const { terminal, text } = context;
      const { signal } = terminal;
      const client = await context.connect();
      const query = { ...readFilter(filter, text), format };
      const pieces = client.download('auditEventExport', { query }, { signal });
      // A file that is there is not overwritten: it may be the evidence.
      if (output !== undefined)
        await pipeline(pieces, createWriteStream(output, { flags: 'wx', mode: 0o600 }), { signal });
      else for await (const piece of pieces) await writePiece(terminal, piece);
    },
  });
}

async function writePiece(terminal: Terminal, piece: string): Promise<void> {
  if (terminal.output.write(piece)) return;
  await once(terminal.output, 'drain', { signal: terminal.signal });
}
