import { Option } from 'commander';
import type { Command } from 'commander';
import { z } from 'zod';
import { createClient } from '../client/client.ts';
import type { Client } from '../client/client.ts';
import { OperationError } from '../shared/errors.ts';
import { readSettings } from './settings.ts';
import type { Terminal } from './terminal.ts';
import type { TextKey, Translate } from './translate.ts';

/** What every command works with. */
export interface CommandContext {
  readonly terminal: Terminal;
  readonly text: Translate;
  /** People's tables are replaced by the API's JSON. */
  readonly json: boolean;
  connect(): Promise<Client>;
  /** One line, table or JSON document on stdout. */
  print(text: string): void;
  printJson(value: unknown): void;
  /** A remark on stderr. */
  remark(text: string): void;
}

export interface CommandSpec<Options extends z.ZodObject> {
  readonly name: string;
  readonly summary: TextKey;
  readonly args?: readonly {
    readonly name: string;
    readonly meaning: TextKey;
    readonly optional?: boolean;
  }[];
  readonly options?: readonly OptionSpec[];
  readonly schema: Options;
  run(context: CommandContext, args: readonly string[], options: z.output<Options>): Promise<void>;
}

export interface OptionSpec {
  readonly flags: string;
  readonly meaning: TextKey;
  readonly choices?: readonly string[];
  readonly required?: boolean;
}

export const noOptions = z.object({});

const commonSchema = z.object({ json: z.boolean().default(false), url: z.string().optional() });

/** `--state a --state b`, or nothing. */
export const repeatable = z.array(z.string()).default([]);

/** Adds one command; its options are decoded by its schema, because commander's are untyped. */
export function addCommand<Options extends z.ZodObject>(
  parent: Command,
  base: { readonly terminal: Terminal; readonly text: Translate; readonly version: string },
  spec: CommandSpec<Options>,
): void {
  const { text } = base;
  const command = parent.command(spec.name).description(text(spec.summary));
  for (const { name, meaning, optional } of spec.args ?? [])
    command.argument(optional ? `[${name}]` : `<${name}>`, text(meaning));
  for (const option of spec.options ?? []) command.addOption(toOption(option, text));
  command.option('--json', text('option.json'));
  command.option('--url <url>', text('option.url'));
  command.option('--lang <language>', text('option.lang'));
  command.action(async () => {
    const given: unknown = command.opts();
    const common = commonSchema.parse(given);
    const context = createContext(base, common);
    await spec.run(context, command.args, decodeOptions(spec.schema, given));
  });
}

function toOption(spec: OptionSpec, text: Translate): Option {
  const option = new Option(spec.flags, text(spec.meaning));
  if (spec.choices) option.choices([...spec.choices]);
  if (spec.required) option.makeOptionMandatory();
  if (spec.flags.endsWith('...>')) {
    // Commander's own variadic options would swallow the arguments that follow.
    option.variadic = false;
    option.argParser((value: string, before: readonly string[] | undefined) => [
      ...(before ?? []),
      value,
    ]);
  }
  return option;
}

function decodeOptions<Options extends z.ZodObject>(
  schema: Options,
  given: unknown,
): z.output<Options> {
  const decoded = schema.safeParse(given);
  if (decoded.success) return decoded.data;
  const issue = decoded.error.issues[0];
  throw new OperationError(
    'invalid_input',
    `--${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`,
  );
}

function createContext(
  base: { readonly terminal: Terminal; readonly text: Translate; readonly version: string },
  common: z.infer<typeof commonSchema>,
): CommandContext {
  const { terminal, text } = base;
  const print = (line: string): void => {
    terminal.output.write(`${line}\n`);
  };
  return {
    terminal,
    text,
    json: common.json,
    print,
    printJson: (value) => print(JSON.stringify(value, null, 2)),
    remark: (line) => {
      terminal.errors.write(`${line}\n`);
    },
    connect: async () => {
      const fromEnv = {
        url: common.url ?? terminal.env['KOMADORI_URL'],
        token: terminal.env['KOMADORI_TOKEN'],
      };
      const stored = fromEnv.url && fromEnv.token ? null : await readSettings(terminal, text);
      const url = fromEnv.url ?? stored?.url;
      if (!url)
        throw new OperationError('unauthenticated', text('error.noServer'), {
          details: { whatToDo: text('error.noServerHow') },
        });
      // A stored token belongs to the server it was stored for, and goes nowhere else.
      const token =
        fromEnv.token ?? (stored && sameOrigin(stored.url, url) ? stored.token : undefined);
      return createClient({ baseUrl: url, token, userAgent: `komadori-cli/${base.version}` });
    },
  };
}

function sameOrigin(one: string, other: string): boolean {
  return URL.canParse(other) && new URL(one).origin === new URL(other).origin;
}
