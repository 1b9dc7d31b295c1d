import { routes } from '../../contract/routes.ts';
import {
  confirmationRuleCreate,
  confirmationRuleDelete,
  confirmationRuleGet,
  confirmationRuleList,
  confirmationRuleUpdate,
} from '../operations/confirmation-rules.ts';
import type { Handlers } from './call.ts';
import { accepted } from './snapshot-handlers.ts';

export const confirmationHandlers = {
  confirmationRuleList: async (call) => ({
    body: await confirmationRuleList(
      call.environment,
      call.caller,
      call.query(routes.confirmationRuleList.query),
    ),
  }),
  confirmationRuleGet: async (call) =>
    await confirmationRuleGet(
      call.environment,
      call.caller,
      call.params(routes.confirmationRuleGet.params).id,
    ),
  confirmationRuleCreate: async (call) => {
    const input = call.body(routes.confirmationRuleCreate.body);
    return accepted(await confirmationRuleCreate(call.environment, call.caller, input, call));
  },
  confirmationRuleUpdate: async (call) => {
    const { id } = call.params(routes.confirmationRuleUpdate.params);
    const input = call.body(routes.confirmationRuleUpdate.body);
    return accepted(
      await confirmationRuleUpdate(call.environment, call.caller, { id, input }, call),
    );
  },
  confirmationRuleDelete: async (call) => {
    const { id } = call.params(routes.confirmationRuleDelete.params);
    const input = call.body(routes.confirmationRuleDelete.body);
    return accepted(
      await confirmationRuleDelete(call.environment, call.caller, { id, input }, call),
    );
  },
} as const satisfies Handlers;
