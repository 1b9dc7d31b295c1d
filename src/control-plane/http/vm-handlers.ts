import { routes } from '../../contract/routes.ts';
import { vmGet, vmList, vmPreflight, vmUpdate } from '../operations/vms.ts';
import type { Handlers } from './call.ts';

export const vmHandlers = {
  vmList: async (call) => ({
    body: await vmList(call.environment, call.caller, call.query(routes.vmList.query)),
  }),
  vmGet: async (call) =>
    await vmGet(call.environment, call.caller, call.params(routes.vmGet.params).id),
  vmUpdate: async (call) => {
    const { id } = call.params(routes.vmUpdate.params);
    const input = call.body(routes.vmUpdate.body);
    return await vmUpdate(call.environment, call.caller, { id, input, ifMatch: call.ifMatch });
  },
  vmPreflight: async (call) => {
    const { id } = call.params(routes.vmPreflight.params);
    const input = call.body(routes.vmPreflight.body);
    return { body: await vmPreflight(call.environment, call.caller, { id, input }) };
  },
} as const satisfies Handlers;
