import type { z } from 'zod';
import type {
  Repository,
  repositoryListQuerySchema,
  repositoryPageSchema,
} from '../../contract/repositories.ts';
import type { Request } from '../../contract/requests.ts';
import { OperationError } from '../../shared/errors.ts';
import { authorize, authorizeSomewhere, FLEET, mayDo } from '../access/principal.ts';
import { findRepository, listRepositories, type RepositoryRow } from '../database/repositories.ts';
import { decodeCursor, idCursorSchema, pageFrom, pageLimit } from './cursor.ts';
import type { Caller, Environment } from './environment.ts';
import { answerOnce, type OnceOptions } from './idempotency.ts';
import { placeRequest } from './place-request.ts';
import { planOther } from './plan-request.ts';

const NOTHING_MEASURED = {
  formatVersion: 0,
  encrypted: false,
  snapshots: 0,
  packs: 0,
  chunks: 0,
  storedBytes: 0,
  uniqueBytes: 0,
  freeBytes: null,
};

function toRepositoryView(row: RepositoryRow): Repository {
  const { hostId: _hostId, statistics, ...view } = row;
  return { ...view, ...(statistics ?? NOTHING_MEASURED) };
}

export async function repositoryList(
  environment: Environment,
  caller: Caller,
  query: z.output<typeof repositoryListQuerySchema>,
): Promise<z.output<typeof repositoryPageSchema>> {
  authorizeSomewhere(caller.principal, 'view');
  // What is in a repository is of all VMs together.
  if (!mayDo(caller.principal, 'view', FLEET)) return { items: [], nextCursor: null };
  const limit = pageLimit(query);
  const after = decodeCursor(idCursorSchema, query.cursor);
  const rows = await listRepositories(environment.catalog.read, { limit: limit + 1, after });
  return pageFrom(rows, { limit, toItem: toRepositoryView, keyOf: ({ id }) => ({ id }) });
}

export async function repositoryCollect(
  environment: Environment,
  caller: Caller,
  id: string,
  options: OnceOptions,
): Promise<Request> {
  const act = { action: 'repository.collect', resourceType: 'repository', resourceId: id };
  return await answerOnce(environment, caller, { ...options, act, body: { id } }, async (tx) => {
    authorize(caller.principal, 'manage-repository', FLEET);
    const repository = await findRepository(tx, id);
    if (!repository) throw new OperationError('not_found', `There is no repository ${id}.`);
    return await placeRequest(environment, caller, tx, {
      parameters: { operation: 'collect', repositoryId: id },
      plan: await planOther(tx, caller.principal, {
        operation: 'collect',
        snapshot: null,
        vm: null,
      }),
      hostId: repository.hostId,
      vm: null,
      snapshot: null,
      audit: {
        action: act.action,
        resourceType: 'repository',
        resourceId: id,
        resourceName: repository.name,
        details: {},
      },
    });
  });
}
