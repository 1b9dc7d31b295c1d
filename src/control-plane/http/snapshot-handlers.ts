import type { Request } from '../../contract/requests.ts';
import { routes } from '../../contract/routes.ts';
import {
  snapshotCreate,
  snapshotDelete,
  snapshotExport,
  snapshotRestore,
  snapshotVerify,
} from '../operations/snapshot-requests.ts';
import { snapshotGet, snapshotList, snapshotUpdate } from '../operations/snapshots.ts';
import type { Answer, Handlers } from './call.ts';

export const accepted = (request: Request): Answer => ({
  body: request,
  location: `/api/v1/requests/${request.id}`,
});

export const snapshotHandlers = {
  snapshotList: async (call) => ({
    body: await snapshotList(call.environment, call.caller, call.query(routes.snapshotList.query)),
  }),
  snapshotGet: async (call) =>
    await snapshotGet(call.environment, call.caller, call.params(routes.snapshotGet.params).id),
  snapshotUpdate: async (call) => {
    const { id } = call.params(routes.snapshotUpdate.params);
    const input = call.body(routes.snapshotUpdate.body);
    const change = { id, input, ifMatch: call.ifMatch };
    return await snapshotUpdate(call.environment, call.caller, change);
  },
  snapshotCreate: async (call) => {
    const input = call.body(routes.snapshotCreate.body);
    return accepted(await snapshotCreate(call.environment, call.caller, input, call));
  },
  snapshotDelete: async (call) => {
    const { id } = call.params(routes.snapshotDelete.params);
    const input = call.body(routes.snapshotDelete.body);
    return accepted(await snapshotDelete(call.environment, call.caller, { id, input }, call));
  },
  snapshotRestore: async (call) => {
    const { id } = call.params(routes.snapshotRestore.params);
    const input = call.body(routes.snapshotRestore.body);
    return accepted(await snapshotRestore(call.environment, call.caller, { id, input }, call));
  },
  snapshotVerify: async (call) => {
    const { id } = call.params(routes.snapshotVerify.params);
    const input = call.body(routes.snapshotVerify.body);
    return accepted(await snapshotVerify(call.environment, call.caller, { id, input }, call));
  },
  snapshotExport: async (call) => {
    const { id } = call.params(routes.snapshotExport.params);
    const input = call.body(routes.snapshotExport.body);
    return accepted(await snapshotExport(call.environment, call.caller, { id, input }, call));
  },
} as const satisfies Handlers;
