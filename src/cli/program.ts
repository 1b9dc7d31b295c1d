import { Command } from 'commander';
import { addAccountCommands } from './account-commands.ts';
import { addAccessCommands } from './access-commands.ts';
import { addAuditCommands } from './audit-commands.ts';
import { renderBashCompletion } from './completion.ts';
import { addConfirmationRuleCommands } from './confirmation-rule-commands.ts';
import { addJobCommands } from './job-commands.ts';
import { addHostCommands, addRepositoryCommands } from './repository-commands.ts';
import { addRequestCommands } from './request-commands.ts';
import { addSnapshotChangeCommands, addSnapshotCreateCommand } from './snapshot-change-commands.ts';
import { addSnapshotReadCommands } from './snapshot-read-commands.ts';
import { addSnapshotRestoreCommands } from './snapshot-restore-commands.ts';
import type { VerifyAuditOffline } from './offline-audit.ts';
import type { Terminal } from './terminal.ts';
import { isTextKey } from './translate.ts';
import type { Translate } from './translate.ts';
import { addPermissionCommands } from './permission-commands.ts';
import { addUserCommands } from './user-commands.ts';
import { addVmCommands } from './vm-commands.ts';

export interface ProgramBase {
  readonly terminal: Terminal;
  readonly text: Translate;
  readonly version: string;
  readonly verifyAuditOffline?: VerifyAuditOffline | undefined;
}

/** Adds commands to a program; `main` brings those that run the server and the worker. */
export type CommandGroup = (program: Command, base: ProgramBase) => void;

const addSnapshotCommands: CommandGroup = (program, base) => {
  const parent = program.command('snapshot').description(base.text('snapshot.description'));
  addSnapshotCreateCommand(parent, base);
  addSnapshotReadCommands(parent, base);
  addSnapshotRestoreCommands(parent, base);
  addSnapshotChangeCommands(parent, base);
};

const GROUPS: readonly CommandGroup[] = [
  addVmCommands,
  addSnapshotCommands,
  addRequestCommands,
  addConfirmationRuleCommands,
  addJobCommands,
  addRepositoryCommands,
  addHostCommands,
  addAuditCommands,
  addAccessCommands,
  addAccountCommands,
  addUserCommands,
  addPermissionCommands,
];

export function createProgram(
  base: ProgramBase,
  extraCommands: readonly CommandGroup[] = [],
): Command {
  const { text, terminal } = base;
  const program = new Command('komadori')
    .description(text('app.description'))
    .version(base.version, '--version', text('help.version'))
    .option('--lang <language>', text('option.lang'))
    .enablePositionalOptions()
    .exitOverride()
    .helpOption('-h, --help', text('help.help'))
    .showHelpAfterError(false)
    .configureHelp({
      helpWidth: 100,
      // The texts name the choices themselves, in their own language.
      optionDescription: (option) => option.description,
      styleTitle: (title) => {
        const key = `help.${title}`;
        return isTextKey(key) ? text(key) : title;
      },
    })
    .configureOutput({
      writeOut: (line) => void terminal.output.write(line),
      // What went wrong is reported in one place, with what to do.
      writeErr: () => undefined,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    });
  for (const addGroup of [...GROUPS, ...extraCommands]) addGroup(program, base);
  program
    .command('completion')
    .description(text('completion.description'))
    .action(() => void terminal.output.write(`${renderBashCompletion(program)}\n`));
  translateHelpOptions(program, text);
  return program;
}

function translateHelpOptions(command: Command, text: Translate): void {
  command.helpOption('-h, --help', text('help.help')).helpCommand(false);
  for (const child of command.commands) translateHelpOptions(child, text);
}
