import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { useMemo, useState } from 'react';
import { createClient } from '../client/client.ts';
import { whoamiSchema } from '../contract/access.ts';
import { OperationError } from '../shared/errors.ts';
import { ClientContext } from './api.ts';
import { NoticeProvider } from './parts/notices.tsx';
import { createAppRouter } from './router.tsx';
import {
  forgetSignIn,
  getCsrfToken,
  setCsrfToken,
  useSignedInBy,
  type SignedInBy,
} from './session.ts';
import { SignInPage } from './shell/sign-in-page.tsx';

export function App(): React.ReactElement {
  const by = useSignedInBy();
  if (by === null) return <SignInPage />;
  return <SignedIn key={by.kind === 'token' ? by.token : by.kind} by={by} />;
}

/** Wherever it happens, a token or session that is no longer good leads back to the sign-in. */
function onError(error: unknown): void {
  if (error instanceof OperationError && error.code === 'unauthenticated') forgetSignIn();
}

/** A session's token against forged calls is known after the first answer that tells it. */
function onSuccess(data: unknown): void {
  const whoami = whoamiSchema.safeParse(data);
  if (whoami.success) setCsrfToken(whoami.data.session?.csrfToken);
}

function SignedIn({ by }: { readonly by: SignedInBy }): React.ReactElement {
  const token = by.kind === 'token' ? by.token : undefined;
  const client = useMemo(
    () => createClient({ baseUrl: location.origin, token, csrfToken: getCsrfToken }),
    [token],
  );
  const [queries] = useState(
    () =>
      new QueryClient({
        queryCache: new QueryCache({
          onError,
          onSuccess: (data, { queryKey }) => queryKey[0] === 'whoami' && onSuccess(data),
        }),
        mutationCache: new MutationCache({ onError }),
        // The client itself repeats what is safe to repeat.
        defaultOptions: { queries: { retry: false, staleTime: 5000 }, mutations: { retry: false } },
      }),
  );
  const [router] = useState(createAppRouter);
  return (
    <ClientContext value={client}>
      <QueryClientProvider client={queries}>
        <NoticeProvider>
          <RouterProvider router={router} />
        </NoticeProvider>
      </QueryClientProvider>
    </ClientContext>
  );
}
