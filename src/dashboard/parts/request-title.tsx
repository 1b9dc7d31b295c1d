import type { Request } from '../../contract/requests.ts';
import type { Operation } from '../../contract/scalars.ts';
import { useTexts } from '../texts/i18n.ts';

interface Titled {
  readonly parameters?: Request['parameters'];
  readonly operation: Operation;
  readonly vm: { readonly name: string } | null;
  readonly snapshot: { readonly name: string } | null;
}

/** `vm / snapshot`, as far as there are any. */
export function nameOf({ parameters, vm, snapshot }: Omit<Titled, 'operation'>): string {
  // A snapshot that waits to be taken has only the name it was asked for with.
  const asked = parameters?.operation === 'create' ? parameters.name : undefined;
  return [vm?.name, snapshot?.name ?? asked, ruleNameOf(parameters)].filter(Boolean).join(' / ');
}

function ruleNameOf(parameters: Titled['parameters']): string | undefined {
  if (parameters?.operation !== 'change-rules') return undefined;
  const { change } = parameters;
  return change.kind === 'delete' ? undefined : change.rule.name;
}

export function useRequestTitle(): (request: Titled) => string {
  const { t, word } = useTexts();
  return (request) => {
    const operation = word('operation', request.operation);
    const name = nameOf(request);
    return name === '' ? operation : t('request.title', { operation, name });
  };
}

export function RequestTitle({ request }: { readonly request: Titled }): React.ReactElement {
  return <>{useRequestTitle()(request)}</>;
}
