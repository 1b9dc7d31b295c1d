import type { Decision, MayDecide } from '../../contract/confirmation.ts';
import { planSchema } from '../../contract/preflight.ts';
import {
  requestParametersSchema,
  requestResultSchema,
  type Request,
} from '../../contract/requests.ts';
import type { Right } from '../../contract/rights.ts';
import { requestCan, type Verdict } from '../../contract/state-predicates.ts';
import { OperationError } from '../../shared/errors.ts';
import { loadPrincipal } from '../access/load-principal.ts';
import { mayDo, type Principal, type Target } from '../access/principal.ts';
import type { Reader } from '../database/catalog.ts';
import { listDecisions, type DecisionRow } from '../database/request-decisions.ts';
import { findRequest, type RequestRow } from '../database/requests.ts';
import { isAdministrator, targetOfVmId } from './targets.ts';
import { timestamp, type Caller, type Environment } from './environment.ts';

const noSuchRequest = (id: string): OperationError =>
  new OperationError('not_found', `There is no request ${id}.`);

export async function requireRequest(db: Reader, id: string): Promise<RequestRow> {
  const row = await findRequest(db, id);
  if (!row) throw noSuchRequest(id);
  return row;
}

/** For whoever may not see it, it does not exist. */
export async function requireVisibleRequest(
  db: Reader,
  principal: Principal,
  id: string,
): Promise<{ request: RequestRow; target: Target }> {
  const request = await requireRequest(db, id);
  const target = await targetOfVmId(db, request.vm?.id ?? null);
  if (!mayDo(principal, 'view', target)) throw noSuchRequest(id);
  return { request, target };
}

export async function viewRequest(
  environment: Environment,
  caller: Caller,
  db: Reader,
  row: RequestRow,
): Promise<Request> {
  const [view] = await viewRequests(environment, caller, db, [row]);
  if (!view) throw new Error('one row makes one view');
  return view;
}

export async function viewRequests(
  environment: Environment,
  caller: Caller,
  db: Reader,
  rows: readonly RequestRow[],
): Promise<Request[]> {
  const decisions = Map.groupBy(
    await listDecisions(
      db,
      rows.map(({ id }) => id),
    ),
    ({ requestId }) => requestId,
  );
  const stillMayApprove = createApproverCheck(db);
  const now = timestamp(environment);
  const views: Request[] = [];
  for (const row of rows) {
    const target = await targetOfVmId(db, row.vm?.id ?? null);
    const made = await viewDecisions(
      row,
      decisions.get(row.id) ?? [],
      async (id) => await stillMayApprove(id, target),
    );
    views.push(toRequestView(row, made, { principal: caller.principal, target, now }));
  }
  return views;
}

/** Plans and results in the shape of an older version are left out rather than shown wrongly. */
function toRequestView(
  row: RequestRow,
  decisions: Decision[],
  who: { principal: Principal; target: Target; now: string },
): Request {
  const { hostId: _hostId, sourceAddress: _sourceAddress, version: _version, ...view } = row;
  return {
    ...view,
    parameters: requestParametersSchema.parse(row.parameters),
    plan: planSchema.safeParse(row.plan).data ?? null,
    result: requestResultSchema.safeParse(row.result).data ?? null,
    approvalsGiven: countApprovals(decisions),
    decisions,
    mayDecide: judge({ ...row, decisions }, who),
  };
}

export const countApprovals = (decisions: readonly Pick<Decision, 'counts'>[]): number =>
  decisions.filter(({ counts }) => counts).length;

type ApproverCheck = (principalId: string, target: Target) => Promise<boolean>;

/** Whoever was disabled or lost the right since approving does not count any more. */
export function createApproverCheck(db: Reader): ApproverCheck {
  const known = new Map<string, Principal | undefined>();
  return async (principalId, target) => {
    if (!known.has(principalId)) known.set(principalId, await loadPrincipal(db, principalId));
    const principal = known.get(principalId);
    return principal !== undefined && mayDo(principal, 'approve', target);
  };
}

export async function viewDecisions(
  request: RequestRow,
  rows: readonly DecisionRow[],
  stillMayApprove: (principalId: string) => Promise<boolean>,
): Promise<Decision[]> {
  const decisions: Decision[] = [];
  for (const { requestId: _requestId, round, ...row } of rows) {
    const isApproval = row.kind === 'approve' && round === request.round;
    // Once it is decided it stays as it was.
    const counts =
      isApproval && (request.state !== 'pending' || (await stillMayApprove(row.by.id)));
    decisions.push({ ...row, counts });
  }
  return decisions;
}

type Judged = RequestRow & { readonly decisions: readonly Decision[] };

function judge(
  request: Judged,
  who: { principal: Principal; target: Target; now: string },
): MayDecide {
  const { principal, target, now } = who;
  const permit = (rights: readonly Right[], verdict: Verdict): MayDecide['approve'] => {
    const [missing] = rights.some((right) => mayDo(principal, right, target)) ? [] : rights;
    if (missing !== undefined)
      return {
        allowed: false,
        reason: `You lack the right "${missing}".`,
        missingRight: missing,
      };
    return {
      allowed: verdict.allowed,
      reason: verdict.allowed ? null : verdict.reason,
      missingRight: null,
    };
  };
  const isOwn = request.requestedBy.id === principal.ref.id;
  return {
    approve: permit(['approve'], requestCan.approve(request, { id: principal.ref.id, now })),
    reject: permit(['approve'], requestCan.reject(request, now)),
    comment: permit(['view'], { allowed: true }),
    renew: permit(isOwn ? ['view'] : ['approve', 'emergency'], requestCan.renew(request, now)),
    override: permit(['emergency'], requestCan.override(request, now)),
    cancel: permit(
      [],
      requestCan.cancel(request, {
        id: principal.ref.id,
        now,
        isAdministrator: isAdministrator(principal, target),
      }),
    ),
  };
}
