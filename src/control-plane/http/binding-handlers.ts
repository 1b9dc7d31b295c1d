import { routes } from '../../contract/routes.ts';
import {
  bindingCreate,
  bindingDelete,
  bindingGet,
  bindingList,
  bindingUpdate,
} from '../operations/bindings.ts';
import { principalRights } from '../operations/principal-rights.ts';
import { roleCreate, roleDelete, roleGet, roleList, roleUpdate } from '../operations/roles.ts';
import type { Handlers } from './call.ts';

export const bindingHandlers = {
  roleList: async (call) => ({
    body: await roleList(call.environment, call.caller, call.query(routes.roleList.query)),
  }),
  roleGet: async (call) =>
    await roleGet(call.environment, call.caller, call.params(routes.roleGet.params).id),
  roleCreate: async (call) => {
    const input = call.body(routes.roleCreate.body);
    const body = await roleCreate(call.environment, call.caller, input, call);
    return { body, location: `/api/v1/roles/${body.id}` };
  },
  roleUpdate: async (call) => {
    const { id } = call.params(routes.roleUpdate.params);
    const input = call.body(routes.roleUpdate.body);
    return await roleUpdate(call.environment, call.caller, { id, input, ifMatch: call.ifMatch });
  },
  roleDelete: async (call) => {
    const { id } = call.params(routes.roleDelete.params);
    await roleDelete(call.environment, call.caller, { id, ifMatch: call.ifMatch });
    return { body: null };
  },
  bindingList: async (call) => ({
    body: await bindingList(call.environment, call.caller, call.query(routes.bindingList.query)),
  }),
  bindingGet: async (call) =>
    await bindingGet(call.environment, call.caller, call.params(routes.bindingGet.params).id),
  bindingCreate: async (call) => {
    const input = call.body(routes.bindingCreate.body);
    const body = await bindingCreate(call.environment, call.caller, input, call);
    return { body, location: `/api/v1/bindings/${body.id}` };
  },
  bindingUpdate: async (call) => {
    const { id } = call.params(routes.bindingUpdate.params);
    const input = call.body(routes.bindingUpdate.body);
    return await bindingUpdate(call.environment, call.caller, { id, input, ifMatch: call.ifMatch });
  },
  bindingDelete: async (call) => {
    const { id } = call.params(routes.bindingDelete.params);
    await bindingDelete(call.environment, call.caller, { id, ifMatch: call.ifMatch });
    return { body: null };
  },
  principalRights: async (call) => {
    const { id } = call.params(routes.principalRights.params);
    const query = call.query(routes.principalRights.query);
    return { body: await principalRights(call.environment, call.caller, { id, query }) };
  },
} as const satisfies Handlers;
