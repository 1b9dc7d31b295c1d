import { keepPreviousData, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import type { UseMutationResult, UseQueryResult } from '@tanstack/react-query';
import { createContext, use } from 'react';
import type {
  AnswerOf,
  ArgumentsOf,
  CallOptions,
  ItemOf,
  PagedOperationId,
} from '../client/call-types.ts';
import type { Answer, Client } from '../client/client.ts';
import type { Whoami } from '../contract/access.ts';
import type { OperationId } from '../contract/routes.ts';

export const ClientContext = createContext<Client | null>(null);

export function useClient(): Client {
  const client = use(ClientContext);
  if (!client) throw new Error('used outside the signed-in part');
  return client;
}

export interface ReadOptions {
  readonly enabled?: boolean;
  /** Read again after this time even if no event came. */
  readonly everyMs?: number;
}

export function useCall<Id extends OperationId>(
  operationId: Id,
  args: ArgumentsOf<Id>,
  options: ReadOptions = {},
): UseQueryResult<AnswerOf<Id>> {
  const client = useClient();
  return useQuery<AnswerOf<Id>>({
    queryKey: [operationId, 'call', args],
    queryFn: async ({ signal }) => await client.call(operationId, args, { signal }),
    enabled: options.enabled ?? true,
    refetchInterval: options.everyMs ?? false,
  });
}

/** As `useCall`, with the ETag, for what is going to be changed. */
export function useAsk<Id extends OperationId>(
  operationId: Id,
  args: ArgumentsOf<Id>,
): UseQueryResult<Answer<AnswerOf<Id>>> {
  const client = useClient();
  return useQuery<Answer<AnswerOf<Id>>>({
    queryKey: [operationId, 'ask', args],
    queryFn: async ({ signal }) => await client.ask(operationId, args, { signal }),
    // The form was filled from this answer: a newer one would hide that somebody else changed it.
    staleTime: 'static',
    gcTime: 0,
  });
}

export interface ItemPage<Item> {
  readonly items: readonly Item[];
  readonly hasMore: boolean;
}

/** The first `maxItems` of a list, over as many pages as that takes. */
export function useItems<Id extends PagedOperationId>(
  operationId: Id,
  args: ArgumentsOf<Id>,
  options: ReadOptions & { readonly maxItems: number },
): UseQueryResult<ItemPage<ItemOf<Id>>> {
  const client = useClient();
  const { maxItems } = options;
  return useQuery<ItemPage<ItemOf<Id>>>({
    queryKey: [operationId, 'items', args, maxItems],
    queryFn: async ({ signal }) => {
      const items: ItemOf<Id>[] = [];
      let hasMore = false;
      const onCursor = (nextCursor: string | null): void => {
        hasMore = nextCursor !== null;
      };
      for await (const item of client.pages(operationId, args, { signal, maxItems, onCursor }))
        items.push(item);
      return { items, hasMore };
    },
    enabled: options.enabled ?? true,
    refetchInterval: options.everyMs ?? false,
    placeholderData: keepPreviousData,
  });
}

export interface Act<Id extends OperationId> {
  readonly args: ArgumentsOf<Id>;
  readonly options?: CallOptions;
}

/** An act that changes something; what it may have changed is read again. */
export function useAct<Id extends OperationId>(
  operationId: Id,
): UseMutationResult<AnswerOf<Id>, Error, Act<Id>> {
  const client = useClient();
  const queries = useQueryClient();
  return useMutation<AnswerOf<Id>, Error, Act<Id>>({
    mutationFn: async ({ args, options }) => await client.call(operationId, args, options),
    onSettled: () => void queries.invalidateQueries(),
  });
}

export const useWhoami = (): UseQueryResult<Whoami> => useCall('whoami', {});
