import { z } from 'zod';
import type { OptionSpec } from './command.ts';
import { LIST_LIMIT_DEFAULT } from './list-output.ts';

export const limitOption: OptionSpec = { flags: '--limit <count>', meaning: 'option.limit' };
export const limitSchema = z.coerce.number().int().min(1).max(100_000).default(LIST_LIMIT_DEFAULT);

export const waitOptions: readonly OptionSpec[] = [
  { flags: '--wait', meaning: 'option.wait' },
  { flags: '--no-wait', meaning: 'option.noWait' },
];
export const justificationOptions: readonly OptionSpec[] = [
  { flags: '--reason <text>', meaning: 'option.reason' },
  { flags: '--reference <text>', meaning: 'option.reference' },
];
export const confirmOptions: readonly OptionSpec[] = [
  { flags: '--yes', meaning: 'option.yes' },
  { flags: '--confirm <vm-name>', meaning: 'option.confirm' },
];

export const waitShape = { wait: z.boolean().optional() };
export const justificationShape = {
  reason: z.string().optional(),
  reference: z.string().optional(),
};
export const confirmShape = { yes: z.boolean().default(false), confirm: z.string().optional() };

/** What of the options goes into every request. */
export const justificationOf = (options: {
  reason?: string | undefined;
  reference?: string | undefined;
}): { reason?: string; reference?: string } => ({
  ...(options.reason === undefined ? {} : { reason: options.reason }),
  ...(options.reference === undefined ? {} : { reference: options.reference }),
});
