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

export const RIGHT_MEANINGS: Readonly<Record<Right, string>> = {
  view: 'See VMs, snapshots, requests and jobs, and verify snapshots.',
  create: 'Ask for snapshots and edit their description, labels and expiry.',
  restore: 'Ask to roll a VM back or to make a new VM from a snapshot.',
  delete: 'Ask to delete snapshots.',
  export: 'Ask to write a snapshot to files, and see the secrets in it.',
  approve: 'Approve or reject what others ask for.',
  'manage-schedules': 'Make, change and remove schedules.',
  'manage-access': 'Manage users, roles, bindings, tokens and confirmation rules.',
  'read-audit': 'Read, verify and export the audit trail.',
  power: 'Start VMs, including after a restore.',
  'manage-repository': 'See repositories and collect what nothing refers to.',
  emergency: 'Act without the confirmation that a rule asks for; always audited as such.',
};
