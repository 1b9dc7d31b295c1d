import { z } from 'zod';
import { OperationError } from '../shared/errors.ts';
import { addCommand, noOptions } from './command.ts';
import { formatExactTime, orNone, parseTime } from './formatting.ts';
import { printList } from './list-output.ts';
import type { CommandGroup } from './program.ts';
import { limitOption, limitSchema } from './shared-options.ts';

// A long chain takes a while; Node's fetch gives up after 300 s in any case.
const AUDIT_VERIFY_TIMEOUT_MS = 280_000;

export const addAuditCommands: CommandGroup = (program, base) => {
  const parent = program.command('audit').description(base.text('audit.description'));
  addCommand(parent, base, {
    name: 'list',
    summary: 'audit.list',
    options: [
      { flags: '--action <action>', meaning: 'option.action' },
      { flags: '--since <time>', meaning: 'option.since' },
      limitOption,
    ],
    schema: z.object({
      action: z.string().optional(),
      since: z.string().optional(),
      limit: limitSchema,
    }),
    run: async (context, _args, { action, since, limit }) => {
      const { text } = context;
      const query = {
        ...(action === undefined ? {} : { action }),
        ...(since === undefined ? {} : { after: parseTime('--since', since, text) }),
      };
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
  addCommand(parent, base, {
    name: 'verify',
    summary: 'audit.verify',
    schema: noOptions,
    run: async (context) => {
      const { text, terminal } = context;
      const client = await context.connect();
      const options = { signal: terminal.signal, timeoutMs: AUDIT_VERIFY_TIMEOUT_MS };
      const report = await client.call('auditVerify', {}, options);
      if (context.json) context.printJson(report);
      const broken = report.firstBroken;
      if (!report.intact)
        throw new OperationError(
          'repository_damaged',
          text('error.auditBroken', {
            sequence: broken?.sequence ?? 0,
            reason: orNone(broken?.reason),
          }),
        );
      if (!context.json) context.print(text('audit.intact', { count: report.eventsChecked }));
    },
  });
};
