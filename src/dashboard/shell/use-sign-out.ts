import { useMutation } from '@tanstack/react-query';
import { useClient } from '../api.ts';
import { forgetSignIn, getCsrfToken } from '../session.ts';

/** A session ends on the server as well; a token may be in use elsewhere and is only forgotten. */
export function useSignOut(): () => void {
  const client = useClient();
  const end = useMutation({
    mutationFn: async () => await client.call('sessionEnd', {}),
    // Whether or not the server could be told: whoever signs out is not to find themselves in.
    onSettled: forgetSignIn,
  });
  return () => (getCsrfToken() === undefined ? forgetSignIn() : end.mutate());
}
