import { CommanderError } from 'commander';
import type { Command } from 'commander';
import { ERROR_TABLE, OperationError, toOperationError } from '../shared/errors.ts';
import { createProgram } from './program.ts';
import type { CommandGroup } from './program.ts';
import type { VerifyAuditOffline } from './offline-audit.ts';
import type { Terminal } from './terminal.ts';
import { plainText } from './text-width.ts';
import { chooseLanguage, createTranslate } from './translate.ts';
import type { Translate } from './translate.ts';

export interface CliOptions {
  /** Without the interpreter and the script. */
  readonly argv: readonly string[];
  readonly terminal: Terminal;
  readonly version: string;
  readonly verifyAuditOffline?: VerifyAuditOffline | undefined;
  readonly extraCommands?: readonly CommandGroup[] | undefined;
}

/** What a shell reports for a program that Ctrl-C ended. */
export const INTERRUPTED_EXIT_CODE = 130;

/** Runs one command and returns the exit code; never throws. */
export async function runCli(options: CliOptions): Promise<number> {
  const { argv, terminal, version } = options;
  const text = createTranslate(chooseLanguage(argv, terminal.env));
  const program = createProgram(
    { terminal, text, version, verifyAuditOffline: options.verifyAuditOffline },
    options.extraCommands,
  );
  try {
    if (argv.length === 0) {
      program.outputHelp();
      return 0;
    }
    await program.parseAsync([...argv], { from: 'user' });
    return 0;
  } catch (thrown) {
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return 0;
    if (thrown instanceof CommanderError && thrown.code === 'commander.help') {
      terminal.errors.write(commandOf(program, argv).helpInformation());
      return ERROR_TABLE.invalid_input.exitCode;
    }
    const error = fromUsageError(thrown, helpCommand(program, argv), text);
    reportError(error, { terminal, text, json: argv.includes('--json') });
    if (terminal.signal.aborted) return INTERRUPTED_EXIT_CODE;
    return ERROR_TABLE[error.code].exitCode;
  }
}

function helpCommand(program: Command, argv: readonly string[]): string {
  const names: string[] = [];
  for (let at: Command | null = commandOf(program, argv); at; at = at.parent)
    names.unshift(at.name());
  return names.join(' ');
}

/** The command that the words lead to, as far as they do. */
function commandOf(program: Command, argv: readonly string[]): Command {
  let command = program;
  for (const word of argv) {
    const child = command.commands.find((candidate) => candidate.name() === word);
    if (!child) break;
    command = child;
  }
  return command;
}

function fromUsageError(thrown: unknown, command: string, text: Translate): OperationError {
  if (!(thrown instanceof CommanderError)) return toOperationError(thrown);
  const message = thrown.message.replace(/^error: /, '');
  return new OperationError('invalid_input', message, {
    cause: thrown,
    details: { whatToDo: text('error.usage', { command }) },
  });
}

/** What happened, then what to do; with `--json` as JSON, so that scripts need not read prose. */
function reportError(
  error: OperationError,
  to: { terminal: Terminal; text: Translate; json: boolean },
): void {
  const { terminal, text } = to;
  const { whatToDo, ...details } = error.details;
  if (to.json) {
    const problem = { code: error.code, message: error.message, whatToDo: whatToDo ?? '', details };
    terminal.errors.write(`${JSON.stringify(problem)}\n`);
    return;
  }
  terminal.errors.write(`${text('error.word')} (${error.code}): ${plainLines(error.message)}\n`);
  if (typeof whatToDo === 'string' && whatToDo !== '')
    terminal.errors.write(`${text('error.whatToDo')}: ${plainLines(whatToDo)}\n`);
  if (error.code === 'internal' && terminal.env['KOMADORI_DEBUG'] && error.cause instanceof Error)
    terminal.errors.write(`${error.cause.stack ?? error.cause.message}\n`);
}

const plainLines = (message: string): string => message.split('\n').map(plainText).join('\n');
