import type { Confirmation } from '../../contract/confirmation.ts';
import type { Operation } from '../../contract/scalars.ts';
import { rolesFor, type Principal } from '../access/principal.ts';
import type { Reader } from '../database/catalog.ts';
import { listConfirmationRules } from '../database/confirmation-rules.ts';
import { decideConfirmation } from '../policy/confirmation.ts';

/** More rules than this nobody could oversee, and every plan looks at all of them. */
export const RULES_MAX = 200;

/** Which rule asks how many others to approve what this requester asks for. */
export async function confirmationFor(
  db: Reader,
  requester: Principal,
  question: {
    operation: Operation;
    vm: { readonly id: string; readonly labels: Readonly<Record<string, string>> } | null;
  },
): Promise<Confirmation> {
  const rules = await listConfirmationRules(db, { limit: RULES_MAX });
  return decideConfirmation(rules, {
    ...question,
    roles: [...rolesFor(requester, { vm: question.vm })],
  });
}
