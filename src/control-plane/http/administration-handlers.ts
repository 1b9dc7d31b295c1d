import { routes } from '../../contract/routes.ts';
import { auditEventList, auditVerify } from '../operations/audit-events.ts';
import { hostList } from '../operations/hosts.ts';
import { repositoryCollect, repositoryList } from '../operations/repositories.ts';
import { tokenCreate, tokenDelete, tokenList, whoami } from '../operations/tokens.ts';
import type { Handlers } from './call.ts';
import { accepted } from './snapshot-handlers.ts';

export const administrationHandlers = {
  hostList: async (call) => ({
    body: await hostList(call.environment, call.caller, call.query(routes.hostList.query)),
  }),
  repositoryList: async (call) => ({
    body: await repositoryList(
      call.environment,
      call.caller,
      call.query(routes.repositoryList.query),
    ),
  }),
  repositoryCollect: async (call) => {
    const { id } = call.params(routes.repositoryCollect.params);
    return accepted(await repositoryCollect(call.environment, call.caller, id, call));
  },
  auditEventList: async (call) => ({
    body: await auditEventList(
      call.environment,
      call.caller,
      call.query(routes.auditEventList.query),
    ),
  }),
  auditVerify: async (call) => ({ body: await auditVerify(call.environment, call.caller) }),
  whoami: async (call) => ({ body: await whoami(call.environment, call.caller) }),
  tokenList: async (call) => ({
    body: await tokenList(call.environment, call.caller, call.query(routes.tokenList.query)),
  }),
  tokenCreate: async (call) => {
    const body = await tokenCreate(
      call.environment,
      call.caller,
      call.body(routes.tokenCreate.body),
    );
    return { body, location: `/api/v1/tokens/${body.id}` };
  },
  tokenDelete: async (call) => {
    await tokenDelete(call.environment, call.caller, call.params(routes.tokenDelete.params).id);
    return { body: null };
  },
} as const satisfies Handlers;
