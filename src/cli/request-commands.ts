import type { Command } from 'commander';
import { z } from 'zod';
import { decisionKindSchema } from '../contract/confirmation.ts';
import type { Decision } from '../contract/confirmation.ts';
import { requestStateSchema } from '../contract/requests.ts';
import type { Request } from '../contract/requests.ts';
import { operationSchema } from '../contract/scalars.ts';
import { requestIsOver } from '../contract/state-predicates.ts';
import { addCommand, noOptions } from './command.ts';
import type { CommandContext } from './command.ts';
import { followRequest } from './follow-request.ts';
import { formatExactTime, formatTime, orNone } from './formatting.ts';
import { printList } from './list-output.ts';
import type { CommandGroup, ProgramBase } from './program.ts';
import { limitOption, limitSchema, waitOptions, waitShape } from './shared-options.ts';
import { renderDetails } from './table.ts';
import { renderPlan } from './vm-commands.ts';

const requestArg = [{ name: 'request', meaning: 'arg.request' }] as const;

export const addRequestCommands: CommandGroup = (program, base) => {
  const parent = program.command('request').description(base.text('request.description'));
  addCommand(parent, base, {
    name: 'list',
    summary: 'request.list',
    options: [
      { flags: '--state <state...>', meaning: 'option.state' },
      { flags: '--mine', meaning: 'option.mine' },
      limitOption,
    ],
    schema: z.object({
      state: z.array(requestStateSchema).default([]),
      operation: z.array(operationSchema).default([]),
      mine: z.boolean().optional(),
      limit: limitSchema,
    }),
    run: async (context, _args, { limit, ...query }) => {
      const { text } = context;
      await printList(context, await context.connect(), {
        operationId: 'requestList',
        args: { query },
        limit,
        columns: [
          { title: text('column.operation') },
          { title: text('column.state') },
          { title: text('column.vm'), shrinks: true },
          { title: text('column.snapshot'), shrinks: true },
          { title: text('column.by'), shrinks: true },
          { title: text('column.approvals') },
          { title: text('column.created') },
          { title: text('column.id') },
        ],
        row: (request) => [
          request.operation,
          request.state,
          orNone(request.vm?.name),
          orNone(request.snapshot?.name),
          request.requestedBy.name,
          formatApprovals(request),
          formatTime(request.createdAt),
          request.id,
        ],
      });
    },
  });
  addCommand(parent, base, {
    name: 'show',
    summary: 'request.show',
    args: requestArg,
    schema: noOptions,
    run: async (context, [id = '']) => {
      const client = await context.connect();
      const { signal } = context.terminal;
      const request = await client.call('requestGet', { params: { id } }, { signal });
      if (context.json) context.printJson(request);
      else printRequest(context, request);
    },
  });
  addDecision(parent, base, 'approve');
  addDecision(parent, base, 'reject');
  addDecision(parent, base, 'renew');
  addDecision(parent, base, 'cancel');
  addComment(parent, base);
  addOverride(parent, base);
};

const formatApprovals = ({ approvalsGiven, approvalsNeeded }: Request): string =>
  approvalsNeeded === 0 ? '-' : `${approvalsGiven}/${approvalsNeeded}`;

function addComment(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'comment',
    summary: 'request.comment',
    args: [...requestArg, { name: 'comment', meaning: 'arg.comment' }],
    schema: noOptions,
    run: async (context, [id = '', comment = '']) => {
      const client = await context.connect();
      const { signal } = context.terminal;
      const args = { params: { id }, body: { comment } };
      const request = await client.call('requestComment', args, { signal });
      if (context.json) context.printJson(request);
      else context.print(context.text('done.comment', { id: request.id }));
    },
  });
}

function addOverride(parent: Command, base: ProgramBase): void {
  addCommand(parent, base, {
    name: 'override',
    summary: 'request.override',
    args: requestArg,
    options: [
      { flags: '--reason <text>', meaning: 'option.emergencyReason', required: true },
      ...waitOptions,
    ],
    schema: z.object({ reason: z.string(), ...waitShape }),
    run: async (context, [id = ''], { reason, wait }) => {
      const client = await context.connect();
      const { signal } = context.terminal;
      const args = { params: { id }, body: { reason } };
      const request = await client.call('requestOverride', args, { signal });
      if (!context.json) context.remark(context.text('done.override', { id: request.id }));
      await followRequest(context, client, request, { wait });
    },
  });
}

const DECISIONS = {
  approve: { operationId: 'requestApprove', summary: 'request.approve', done: 'done.approve' },
  reject: { operationId: 'requestReject', summary: 'request.reject', done: 'done.reject' },
  renew: { operationId: 'requestRenew', summary: 'request.renew', done: 'done.renew' },
  cancel: { operationId: 'requestCancel', summary: 'request.cancel', done: 'done.cancel' },
} as const;

function addDecision(parent: Command, base: ProgramBase, name: keyof typeof DECISIONS): void {
  const { operationId, summary, done } = DECISIONS[name];
  addCommand(parent, base, {
    name,
    summary,
    args: requestArg,
    options: [{ flags: '--comment <text>', meaning: 'option.comment' }],
    schema: z.object({ comment: z.string().default('') }),
    run: async (context, [id = ''], { comment }) => {
      const client = await context.connect();
      const { signal } = context.terminal;
      const args = { params: { id }, body: { comment } };
      const request = await client.call(operationId, args, { signal });
      if (context.json) context.printJson(request);
      else if (name === 'approve' && request.state === 'pending')
        context.print(
          context.text('done.approvePart', {
            id: request.id,
            given: request.approvalsGiven,
            needed: request.approvalsNeeded,
          }),
        );
      else context.print(context.text(done, { id: request.id }));
    },
  });
}

function describe(context: CommandContext, decision: Decision): string {
  const { kind, by, at, comment, counts } = decision;
  const isVoid = kind === 'approve' && !counts;
  return [
    `${kind}: ${by.name}`,
    formatExactTime(at),
    isVoid ? context.text('decision.notCounted') : '',
    comment,
  ]
    .filter(Boolean)
    .join(', ');
}

const describeMay = ({ text }: CommandContext, { mayDecide }: Request): string =>
  decisionKindSchema.options
    .map((act) => {
      const { allowed, reason } = mayDecide[act];
      return allowed ? act : text('decision.cannot', { act, reason: reason ?? '' });
    })
    .join('\n');

function printRequest(context: CommandContext, request: Request): void {
  const { text } = context;
  const { failure, decidedBy, plan } = request;
  const planLines =
    plan && plan.operation !== 'create'
      ? [...plan.problems.map((one) => one.reason), ...plan.warnings.map((one) => one.message)]
      : [];
  context.print(
    renderDetails([
      [text('column.id'), request.id],
      [text('column.operation'), request.operation],
      [text('column.state'), request.state],
      [text('column.vm'), request.vm && `${request.vm.name} (${request.vm.id})`],
      [
        text('column.snapshot'),
        request.snapshot && `${request.snapshot.name} (${request.snapshot.id})`,
      ],
      [text('column.by'), request.requestedBy.name],
      [text('field.reason'), [request.reference, request.reason].filter(Boolean).join(': ')],
      [text('column.created'), formatExactTime(request.createdAt)],
      [text('column.expires'), request.expiresAt && formatExactTime(request.expiresAt)],
      [text('column.approvals'), formatApprovals(request)],
      [text('field.confirmation'), request.confirmation.explanation],
      [text('field.emergency'), request.emergency ? text('word.yes') : null],
      [
        text('field.begins'),
        request.approvalExpiresAt && formatExactTime(request.approvalExpiresAt),
      ],
      [text('field.decisions'), request.decisions.map((one) => describe(context, one)).join('\n')],
      [text('field.youMay'), requestIsOver(request.state) ? null : describeMay(context, request)],
      [
        text('field.decided'),
        decidedBy &&
          [decidedBy.name, formatExactTime(request.decidedAt), request.decisionComment]
            .filter(Boolean)
            .join(', '),
      ],
      [text('field.job'), request.jobId],
      [text('field.failure'), failure && `${failure.code}: ${failure.message}`],
      [text('field.result'), request.result && JSON.stringify(request.result)],
      [text('field.plan'), planLines.join('\n')],
    ]),
  );
  if (plan?.operation === 'create') {
    context.print('');
    context.print(renderPlan(context, plan));
  }
}
