import { routeOf, type OperationId } from '../../contract/routes.ts';
import { UNKNOWN_ID, VM_ID, type TestServer } from './server.test-suite.ts';

/** A valid body for each route that takes one, so that only the right can be what is missing. */
const BODIES: Partial<Record<OperationId, object>> = {
  vmUpdate: { labels: {} },
  vmPreflight: {},
  snapshotCreate: { vm: VM_ID },
  snapshotUpdate: { pinned: true },
  snapshotDelete: { confirmVmName: 'web' },
  snapshotRestore: { mode: 'rollback', confirmVmName: 'web' },
  snapshotExport: { folder: '/srv/export' },
  confirmationRuleCreate: { name: 'x', operations: ['delete'], approvals: 2 },
  confirmationRuleUpdate: { approvals: 1 },
  requestComment: { comment: 'x' },
  requestOverride: { reason: 'x' },
  tokenCreate: { name: 'x' },
  roleCreate: { name: 'x', rights: [] },
  roleUpdate: { description: 'x' },
  bindingCreate: { principalId: 'nobody', roleId: 'viewer', scope: { kind: 'everything' } },
  bindingUpdate: { effect: 'allow' },
  sessionCreate: { name: 'nobody', password: 'x' },
  passwordChange: { newPassword: 'an unusual phrase' },
  userCreate: { name: 'x' },
  userUpdate: { displayName: 'x' },
  oneTimeCodesBegin: { password: 'an unusual phrase' },
  oneTimeCodesConfirm: { code: '123456' },
  oneTimeCodesRemove: { password: 'an unusual phrase' },
  recoveryCodesRenew: { password: 'an unusual phrase' },
  userSetPassword: { temporaryPassword: 'an unusual phrase' },
};

export const callRoute = (
  server: TestServer,
  operationId: OperationId,
  token: string | null,
  id: string,
) => {
  const { method, path } = routeOf(operationId);
  const body = BODIES[operationId];
  return server.call(token, method, path.replace('{id}', id), body ? { body } : {});
};

export const idFor = (operationId: OperationId, known: { snapshotId: string }): string => {
  const { path } = routeOf(operationId);
  if (path.includes('/vms/')) return VM_ID;
  if (path.includes('/snapshots/')) return known.snapshotId;
  return path.includes('/repositories/') ? 'repo-1' : UNKNOWN_ID;
};
