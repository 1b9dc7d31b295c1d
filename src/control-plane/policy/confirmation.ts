import type { Operation } from '../../contract/scalars.ts';

/** How many others have to approve. Reading again harms nothing; administrators decide alone. */
export function approvalsNeeded(wish: { operation: Operation; byAdministrator: boolean }): number {
  if (wish.byAdministrator || wish.operation === 'verify') return 0;
  return 1;
}
