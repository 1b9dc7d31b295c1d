import type { Right } from '../../contract/rights.ts';
import type { Operation } from '../../contract/scalars.ts';

const RIGHT_FOR: Readonly<Record<Operation, Right>> = {
  create: 'create',
  restore: 'restore',
  delete: 'delete',
  export: 'export',
  verify: 'view',
  collect: 'manage-repository',
  'change-rules': 'manage-access',
};

/** What one needs to ask for it. */
export const rightFor = (operation: Operation): Right => RIGHT_FOR[operation];
