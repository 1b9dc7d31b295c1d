import type { Operation } from '../../contract/scalars.ts';
import { useTexts } from '../texts/i18n.ts';

interface Titled {
  readonly operation: Operation;
  readonly vm: { readonly name: string } | null;
  readonly snapshot: { readonly name: string } | null;
}

export function useRequestTitle(): (request: Titled) => string {
  const { t, word } = useTexts();
  return (request) => {
    const operation = word('operation', request.operation);
    const name = [request.vm?.name, request.snapshot?.name].filter(Boolean).join(' / ');
    return name === '' ? operation : t('request.title', { operation, name });
  };
}

export function RequestTitle({ request }: { readonly request: Titled }): React.ReactElement {
  return <>{useRequestTitle()(request)}</>;
}
