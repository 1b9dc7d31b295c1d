import { z } from 'zod';

/** The closed list of rights; a role is a set of them, a binding gives a role over a scope. */
export const RIGHTS = [
  'view',
  'create',
  'restore',
  'delete',
  'export',
  'approve',
  'manage-schedules',
  'manage-access',
  'read-audit',
  'power',
  'manage-repository',
  'emergency',
] as const;

export const rightSchema = z.enum(RIGHTS);
export type Right = z.infer<typeof rightSchema>;
