import type { MayDecide } from '../../contract/confirmation.ts';
import type { Right } from '../../contract/rights.ts';
import type { Verdict } from '../../contract/state-predicates.ts';

export type Permission =
  | { readonly allowed: true }
  | { readonly allowed: false; readonly missingRight: Right }
  | { readonly allowed: false; readonly reason: string };

/** State and rights together; a missing right is said first, since waiting does not mend it. */
export function permit(
  verdict: Verdict,
  right: Right | null,
  rights: readonly Right[] | undefined,
): Permission {
  if (right !== null && rights !== undefined && !rights.includes(right))
    return { allowed: false, missingRight: right };
  return verdict;
}

/** What the server says of this very thing: rights can differ from VM to VM. */
export function permissionOf({ allowed, missingRight, reason }: MayDecide['approve']): Permission {
  if (allowed) return { allowed };
  return missingRight === null ? { allowed, reason: reason ?? '' } : { allowed, missingRight };
}
