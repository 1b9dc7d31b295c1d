import type { Right } from '../../contract/rights.ts';
import type { PrincipalRef } from '../../contract/scalars.ts';
import { OperationError } from '../../shared/errors.ts';
import type { Role } from './roles.ts';

/** Who is asking, as known from the credentials of this very call. */
export interface Principal {
  readonly ref: PrincipalRef;
  readonly role: Role;
  /** Rights of the role that the token does not withhold. */
  readonly rights: ReadonlySet<Right>;
  readonly tokenId: string | null;
}

export interface Target {
  /** Who made the thing, where that matters. */
  readonly createdById?: string | undefined;
}

/** The one place that decides: what is not allowed here is not allowed. */
export function mayDo(principal: Principal, right: Right, target: Target = {}): boolean {
  if (!principal.rights.has(right)) return false;
  // Operators may restore any snapshot but delete only what they made themselves.
  if (right === 'delete' && principal.role === 'operator')
    return target.createdById === principal.ref.id;
  return true;
}

/** Throws `forbidden`; where seeing is not allowed either, `not_found`, so that nothing is revealed. */
export function authorize(principal: Principal, right: Right, target: Target = {}): void {
  if (mayDo(principal, right, target)) return;
  if (!principal.rights.has('view') && right === 'view')
    throw new OperationError('forbidden', 'You have no right to see this. Ask an administrator.');
  if (principal.rights.has(right))
    throw new OperationError(
      'forbidden',
      `Your role ${principal.role} allows "${right}" only for what you made yourself. Ask an administrator.`,
      { details: { right } },
    );
  throw new OperationError(
    'forbidden',
    `You lack the right "${right}". Ask an administrator for it, or use a token that has it.`,
    { details: { right } },
  );
}
