import { routes } from '../../contract/routes.ts';
import { passwordChange } from '../operations/account.ts';
import {
  accountGet,
  oneTimeCodesBegin,
  oneTimeCodesConfirm,
  oneTimeCodesRemove,
  recoveryCodesRenew,
} from '../operations/one-time-codes.ts';
import { sessionDelete, sessionEnd, sessionList } from '../operations/sessions.ts';
import {
  userCreate,
  userDisable,
  userEnable,
  userGet,
  userList,
  userResetOneTimeCodes,
  userSetPassword,
  userUpdate,
} from '../operations/users.ts';
import type { Handlers } from './call.ts';

export const accessHandlers = {
  sessionList: async (call) => ({
    body: await sessionList(call.environment, call.caller, call.query(routes.sessionList.query)),
  }),
  sessionEnd: async (call) => {
    await sessionEnd(call.environment, call.caller);
    return { body: null, sessionSecret: null };
  },
  sessionDelete: async (call) => {
    await sessionDelete(call.environment, call.caller, call.params(routes.sessionDelete.params).id);
    return { body: null };
  },
  passwordChange: async (call) => {
    const input = call.body(routes.passwordChange.body);
    const { session } = await passwordChange(call.environment, call.caller, input);
    return { body: null, ...(session && { sessionSecret: session.secret }) };
  },
  accountGet: async (call) => ({ body: await accountGet(call.environment, call.caller) }),
  oneTimeCodesBegin: async (call) => {
    const input = call.body(routes.oneTimeCodesBegin.body);
    return { body: await oneTimeCodesBegin(call.environment, call.caller, input) };
  },
  oneTimeCodesConfirm: async (call) => {
    const input = call.body(routes.oneTimeCodesConfirm.body);
    const { body, session } = await oneTimeCodesConfirm(call.environment, call.caller, input);
    return { body, ...(session && { sessionSecret: session.secret }) };
  },
  oneTimeCodesRemove: async (call) => {
    const input = call.body(routes.oneTimeCodesRemove.body);
    await oneTimeCodesRemove(call.environment, call.caller, input);
    return { body: null };
  },
  recoveryCodesRenew: async (call) => {
    const input = call.body(routes.recoveryCodesRenew.body);
    return { body: await recoveryCodesRenew(call.environment, call.caller, input) };
  },
  userResetOneTimeCodes: async (call) => {
    const { id } = call.params(routes.userResetOneTimeCodes.params);
    await userResetOneTimeCodes(call.environment, call.caller, id);
    return { body: null };
  },
  userList: async (call) => ({
    body: await userList(call.environment, call.caller, call.query(routes.userList.query)),
  }),
  userCreate: async (call) => {
    const body = await userCreate(call.environment, call.caller, call.body(routes.userCreate.body));
    return { body, location: `/api/v1/users/${body.id}` };
  },
  userGet: async (call) =>
    await userGet(call.environment, call.caller, call.params(routes.userGet.params).id),
  userUpdate: async (call) =>
    await userUpdate(call.environment, call.caller, {
      id: call.params(routes.userUpdate.params).id,
      input: call.body(routes.userUpdate.body),
      ifMatch: call.ifMatch,
    }),
  userDisable: async (call) => ({
    body: await userDisable(
      call.environment,
      call.caller,
      call.params(routes.userDisable.params).id,
    ),
  }),
  userEnable: async (call) => ({
    body: await userEnable(call.environment, call.caller, call.params(routes.userEnable.params).id),
  }),
  userSetPassword: async (call) => {
    await userSetPassword(call.environment, call.caller, {
      id: call.params(routes.userSetPassword.params).id,
      ...call.body(routes.userSetPassword.body),
    });
    return { body: null };
  },
} as const satisfies Handlers;
