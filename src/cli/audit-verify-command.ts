import { z } from 'zod';
import type { Command } from 'commander';
import type { AuditVerification } from '../contract/audit-events.ts';
import { OperationError } from '../shared/errors.ts';
import { addCommand, type CommandContext } from './command.ts';
import { orNone } from './formatting.ts';
import type { ProgramBase } from './program.ts';

// A long chain takes a while; Node's fetch gives up after 300 s in any case.
const AUDIT_VERIFY_TIMEOUT_MS = 280_000;

const optionsSchema = z.object({
  database: z.string().min(1).optional(),
  export: z.string().min(1).optional(),
  repository: z.string().min(1).optional(),
  keyFile: z.string().min(1).optional(),
  passphraseFile: z.string().min(1).optional(),
  head: z.string().optional(),
});

export function addAuditVerifyCommand(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'verify',
    summary: 'audit.verify',
    options: [
      { flags: '--database <file>', meaning: 'option.verifyDatabase' },
      { flags: '--export <file>', meaning: 'option.verifyExport' },
      { flags: '--repository <folder>', meaning: 'option.verifyRepository' },
      { flags: '--key-file <file>', meaning: 'option.verifyKeyFile' },
      { flags: '--passphrase-file <file>', meaning: 'option.verifyPassphraseFile' },
      { flags: '--head <number:hash>', meaning: 'option.verifyHead' },
    ],
    schema: optionsSchema,
    run: async (context, _args, options) => {
      const { text } = context;
      const report = await verify(context, base, options);
      if (context.json) context.printJson(report);
      const broken = report.firstBroken;
      if (!report.intact)
        throw new OperationError(
          'repository_damaged',
          text('error.auditBroken', {
            sequence: broken?.sequence ?? 0,
            reason: `${broken?.kind ?? ''}: ${orNone(broken?.reason)}`,
          }),
        );
      if (context.json) return;
      context.print(text('audit.intact', { count: report.eventsChecked }));
      context.print(text('audit.headsChecked', { count: report.headsChecked }));
      if (report.headHash !== null)
        context.print(text('audit.headIs', { head: `${report.eventsChecked}:${report.headHash}` }));
    },
  });
}

async function verify(
  context: CommandContext,
  base: ProgramBase,
  options: z.output<typeof optionsSchema>,
): Promise<AuditVerification> {
  const { text, terminal } = context;
  const { signal } = terminal;
  const isOffline = Object.values(options).some((value) => value !== undefined);
  if (!isOffline) {
    const client = await context.connect();
    return await client.call('auditVerify', {}, { signal, timeoutMs: AUDIT_VERIFY_TIMEOUT_MS });
  }
  if ((options.database === undefined) === (options.export === undefined))
    throw new OperationError('invalid_input', text('error.auditSource'));
  if (!base.verifyAuditOffline)
    throw new OperationError('invalid_input', text('error.auditOffline'));
  return await base.verifyAuditOffline(options, signal);
}
