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
