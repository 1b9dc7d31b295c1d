import { z } from 'zod';
import {
  tokenCreateInputSchema,
  tokenCreatedSchema,
  tokenListQuerySchema,
  tokenPageSchema,
  whoamiSchema,
} from './access.ts';
import { accessRoutes } from './access-routes.ts';
import {
  auditEventExportQuerySchema,
  auditEventListQuerySchema,
  auditEventPageSchema,
  auditVerificationSchema,
} from './audit-events.ts';
import { eventQuerySchema, serverEventSchema } from './events.ts';
import { hostListQuerySchema, hostPageSchema } from './hosts.ts';
import { jobListQuerySchema, jobPageSchema, jobSchema } from './jobs.ts';
import { capturePlanSchema, preflightInputSchema } from './preflight.ts';
import {
  repositoryListQuerySchema,
  repositoryPageSchema,
  repositoryParamsSchema,
} from './repositories.ts';
import { requestRoutes } from './request-routes.ts';
import { read, wish, type RouteDefinition } from './route-definition.ts';
import { idParamsSchema } from './scalars.ts';
import { signInRoutes } from './sign-in-routes.ts';
import {
  snapshotCreateInputSchema,
  snapshotDeleteInputSchema,
  snapshotExportInputSchema,
  snapshotRestoreInputSchema,
  snapshotVerifyInputSchema,
} from './snapshot-inputs.ts';
import {
  snapshotListQuerySchema,
  snapshotPageSchema,
  snapshotSchema,
  snapshotUpdateInputSchema,
} from './snapshots.ts';
import { vmListQuerySchema, vmPageSchema, vmSchema, vmUpdateInputSchema } from './vms.ts';

/** The interface, once: the server registers it, the client is typed by it, OpenAPI is made from it. */
export const routes = {
  vmList: {
    ...read,
    path: '/api/v1/vms',
    tag: 'vms',
    summary: 'List VMs',
    right: 'view',
    query: vmListQuerySchema,
    response: vmPageSchema,
  },
  vmGet: {
    ...read,
    path: '/api/v1/vms/{id}',
    tag: 'vms',
    summary: 'Show a VM',
    right: 'view',
    etag: true,
    params: idParamsSchema,
    response: vmSchema,
  },
  vmUpdate: {
    method: 'PATCH',
    status: 200,
    audited: true,
    path: '/api/v1/vms/{id}',
    tag: 'vms',
    summary: 'Change the labels of a VM',
    right: 'manage-access',
    etag: true,
    params: idParamsSchema,
    body: vmUpdateInputSchema,
    response: vmSchema,
  },
  vmPreflight: {
    method: 'POST',
    status: 200,
    audited: false,
    path: '/api/v1/vms/{id}/preflight',
    tag: 'vms',
    summary: 'Say what a capture would do',
    right: 'create',
    params: idParamsSchema,
    body: preflightInputSchema,
    response: capturePlanSchema,
  },

  snapshotList: {
    ...read,
    path: '/api/v1/snapshots',
    tag: 'snapshots',
    summary: 'List snapshots',
    right: 'view',
    query: snapshotListQuerySchema,
    response: snapshotPageSchema,
  },
  snapshotCreate: {
    ...wish,
    path: '/api/v1/snapshots',
    tag: 'snapshots',
    summary: 'Ask for a snapshot of a VM',
    right: 'create',
    body: snapshotCreateInputSchema,
  },
  snapshotGet: {
    ...read,
    path: '/api/v1/snapshots/{id}',
    tag: 'snapshots',
    summary: 'Show a snapshot',
    right: 'view',
    etag: true,
    params: idParamsSchema,
    response: snapshotSchema,
  },
  snapshotUpdate: {
    method: 'PATCH',
    status: 200,
    audited: true,
    path: '/api/v1/snapshots/{id}',
    tag: 'snapshots',
    summary: 'Change description, labels, pin or expiry',
    right: 'create',
    etag: true,
    params: idParamsSchema,
    body: snapshotUpdateInputSchema,
    response: snapshotSchema,
  },
  snapshotDelete: {
    ...wish,
    method: 'DELETE',
    path: '/api/v1/snapshots/{id}',
    tag: 'snapshots',
    summary: 'Ask to delete a snapshot',
    right: 'delete',
    etag: true,
    params: idParamsSchema,
    body: snapshotDeleteInputSchema,
  },
  snapshotRestore: {
    ...wish,
    path: '/api/v1/snapshots/{id}/restore',
    tag: 'snapshots',
    summary: 'Ask to roll a VM back, or for a new VM',
    right: 'restore',
    params: idParamsSchema,
    body: snapshotRestoreInputSchema,
  },
  snapshotVerify: {
    ...wish,
    path: '/api/v1/snapshots/{id}/verify',
    tag: 'snapshots',
    summary: 'Ask to check every byte of a snapshot',
    right: 'view',
    params: idParamsSchema,
    body: snapshotVerifyInputSchema,
  },
  snapshotExport: {
    ...wish,
    path: '/api/v1/snapshots/{id}/export',
    tag: 'snapshots',
    summary: 'Ask to write a snapshot to files',
    right: 'export',
    params: idParamsSchema,
    body: snapshotExportInputSchema,
  },

  ...requestRoutes,

  jobList: {
    ...read,
    path: '/api/v1/jobs',
    tag: 'jobs',
    summary: 'List jobs',
    right: 'view',
    query: jobListQuerySchema,
    response: jobPageSchema,
  },
  jobGet: {
    ...read,
    path: '/api/v1/jobs/{id}',
    tag: 'jobs',
    summary: 'Show a job',
    right: 'view',
    params: idParamsSchema,
    response: jobSchema,
  },
  jobCancel: {
    method: 'POST',
    status: 202,
    audited: true,
    path: '/api/v1/jobs/{id}/cancel',
    tag: 'jobs',
    summary: 'Stop a job and undo what it did',
    right: null,
    params: idParamsSchema,
    response: jobSchema,
  },

  hostList: {
    ...read,
    path: '/api/v1/hosts',
    tag: 'hosts',
    summary: 'List hosts',
    right: 'view',
    query: hostListQuerySchema,
    response: hostPageSchema,
  },

  repositoryList: {
    ...read,
    path: '/api/v1/repositories',
    tag: 'repositories',
    summary: 'List repositories and how full they are',
    right: 'view',
    query: repositoryListQuerySchema,
    response: repositoryPageSchema,
  },
  repositoryCollect: {
    ...wish,
    path: '/api/v1/repositories/{id}/collect',
    tag: 'repositories',
    summary: 'Ask to free what no snapshot refers to',
    right: 'manage-repository',
    params: repositoryParamsSchema,
  },

  auditEventList: {
    ...read,
    path: '/api/v1/audit-events',
    tag: 'audit',
    summary: 'Read the audit trail',
    right: 'read-audit',
    query: auditEventListQuerySchema,
    response: auditEventPageSchema,
  },
  auditEventExport: {
    ...read,
    audited: true,
    path: '/api/v1/audit-events/export',
    tag: 'audit',
    summary: 'Download the audit trail, oldest first',
    right: 'read-audit',
    download: ['application/jsonl', 'text/csv'],
    query: auditEventExportQuerySchema,
    response: z.string(),
  },
  auditVerify: {
    ...read,
    path: '/api/v1/audit-events/verify',
    tag: 'audit',
    summary: 'Check the chain of the audit trail',
    right: 'read-audit',
    response: auditVerificationSchema,
  },

  eventStream: {
    ...read,
    path: '/api/v1/events',
    tag: 'events',
    summary: 'Follow changes as server-sent events',
    right: 'view',
    stream: true,
    query: eventQuerySchema,
    response: serverEventSchema,
  },

  whoami: {
    ...read,
    path: '/api/v1/whoami',
    tag: 'access',
    summary: 'Show who is signed in',
    right: null,
    response: whoamiSchema,
  },
  tokenList: {
    ...read,
    path: '/api/v1/tokens',
    tag: 'access',
    summary: 'List one’s own tokens',
    right: null,
    query: tokenListQuerySchema,
    response: tokenPageSchema,
  },
  tokenCreate: {
    method: 'POST',
    status: 201,
    audited: true,
    path: '/api/v1/tokens',
    tag: 'access',
    summary: 'Make a token',
    right: null,
    body: tokenCreateInputSchema,
    response: tokenCreatedSchema,
  },
  tokenDelete: {
    method: 'DELETE',
    status: 204,
    audited: true,
    path: '/api/v1/tokens/{id}',
    tag: 'access',
    summary: 'Revoke a token',
    right: null,
    params: idParamsSchema,
    response: null,
  },

  ...signInRoutes,
  ...accessRoutes,
} as const satisfies Record<string, RouteDefinition>;

export type Routes = typeof routes;
export type OperationId = keyof Routes;

export const operationIds = Object.keys(routes).filter((key): key is OperationId =>
  Object.hasOwn(routes, key),
);

/** The table's row as its general type, for code that treats all routes alike. */
export const routeOf = (operationId: OperationId): RouteDefinition => routes[operationId];
