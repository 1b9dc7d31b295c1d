import { routes } from '../../contract/routes.ts';
import { jobCancel, jobGet, jobList } from '../operations/jobs.ts';
import { requestCancel } from '../operations/cancel-request.ts';
import {
  requestApprove,
  requestComment,
  requestOverride,
  requestReject,
} from '../operations/decide-request.ts';
import { requestRenew } from '../operations/renew-request.ts';
import { requestGet, requestList } from '../operations/requests.ts';
import type { Call, Handlers } from './call.ts';

const decisionOf = (call: Call): { id: string; comment: string } => ({
  ...call.params(routes.requestApprove.params),
  ...call.body(routes.requestApprove.body),
});

export const requestHandlers = {
  requestList: async (call) => ({
    body: await requestList(call.environment, call.caller, call.query(routes.requestList.query)),
  }),
  requestGet: async (call) =>
    await requestGet(call.environment, call.caller, call.params(routes.requestGet.params).id),
  requestApprove: async (call) => ({
    body: await requestApprove(call.environment, call.caller, decisionOf(call)),
  }),
  requestReject: async (call) => ({
    body: await requestReject(call.environment, call.caller, decisionOf(call)),
  }),
  requestCancel: async (call) => ({
    body: await requestCancel(call.environment, call.caller, decisionOf(call)),
  }),
  requestComment: async (call) => {
    const { id } = call.params(routes.requestComment.params);
    const { comment } = call.body(routes.requestComment.body);
    return { body: await requestComment(call.environment, call.caller, { id, comment }) };
  },
  requestRenew: async (call) => ({
    body: await requestRenew(call.environment, call.caller, decisionOf(call)),
  }),
  requestOverride: async (call) => {
    const { id } = call.params(routes.requestOverride.params);
    const { reason } = call.body(routes.requestOverride.body);
    return { body: await requestOverride(call.environment, call.caller, { id, comment: reason }) };
  },
  jobList: async (call) => ({
    body: await jobList(call.environment, call.caller, call.query(routes.jobList.query)),
  }),
  jobGet: async (call) => ({
    body: await jobGet(call.environment, call.caller, call.params(routes.jobGet.params).id),
  }),
  jobCancel: async (call) => {
    const { id } = call.params(routes.jobCancel.params);
    const body = await jobCancel(call.environment, call.caller, id);
    return { body, location: `/api/v1/requests/${body.requestId}` };
  },
} as const satisfies Handlers;
