import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { useMemo, useState } from 'react';
import { createClient } from '../client/client.ts';
import { OperationError } from '../shared/errors.ts';
import { ClientContext } from './api.ts';
import { NoticeProvider } from './parts/notices.tsx';
import { createAppRouter } from './router.tsx';
import { signOut, useToken } from './session.ts';
import { SignInPage } from './shell/sign-in-page.tsx';

export function App(): React.ReactElement {
  const token = useToken();
  return token === null ? <SignInPage /> : <SignedIn key={token} token={token} />;
}

/** Wherever it happens, a token that is no longer good leads back to the sign-in. */
function onError(error: unknown): void {
  if (error instanceof OperationError && error.code === 'unauthenticated') signOut();
}

function SignedIn({ token }: { readonly token: string }): React.ReactElement {
  const client = useMemo(() => createClient({ baseUrl: location.origin, token }), [token]);
  const [queries] = useState(
    () =>
      new QueryClient({
        queryCache: new QueryCache({ onError }),
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
