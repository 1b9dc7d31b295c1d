import { z } from 'zod';

/**
 * The closed list of rights; a role is a set of them, a binding gives a role over a scope.
 * `delete` is over every snapshot, `delete-own` over those that one made oneself.
 */
export const RIGHTS = [
  'view',
  'create',
  'restore',
  'delete',
  'delete-own',
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

/** The right itself, and what includes it. */
export const rightsThatGive = (right: Right): readonly Right[] =>
  right === 'delete-own' ? ['delete-own', 'delete'] : [right];
