import { lazy, Suspense, useState } from 'react';
import type { DecisionKind } from '../../contract/confirmation.ts';
import type { Request } from '../../contract/requests.ts';
import { requestIsOver } from '../../contract/state-predicates.ts';
import { useWhoami } from '../api.ts';
import { permissionOf } from '../logic/verdicts.ts';
import { useTexts } from '../texts/i18n.ts';
import { PermissionButton } from './permission.tsx';

const DecideDialog = lazy(async () => ({
  default: (await import('../dialogs/decide-dialog.tsx')).DecideDialog,
}));

type Look = Pick<React.ComponentProps<typeof PermissionButton>, 'variant' | 'isDanger'>;

const LOOKS: Readonly<Record<DecisionKind, Look>> = {
  approve: { variant: 'primary' },
  reject: { variant: 'secondary', isDanger: true },
  comment: { variant: 'secondary' },
  renew: { variant: 'secondary' },
  override: { variant: 'link', isDanger: true },
  cancel: { variant: 'link', isDanger: true },
};

/** What can be done about a request now: what one may not do says why. */
export function RequestDecisions({ request }: { readonly request: Request }): React.ReactNode {
  const { t } = useTexts();
  const [decision, setDecision] = useState<DecisionKind | null>(null);
  const whoami = useWhoami().data;
  if (requestIsOver(request.state)) return null;
  const isMine = request.requestedBy.id === whoami?.principal.id;
  return (
    <div className="kd-actions">
      {offeredDecisions(request, isMine).map((kind) => (
        <PermissionButton
          key={kind}
          size="sm"
          {...LOOKS[kind]}
          permission={permissionOf(request.mayDecide[kind])}
          onClick={() => setDecision(kind)}
        >
          {t(`request.${kind}`)}
        </PermissionButton>
      ))}
      {decision === null ? null : (
        <Suspense fallback={null}>
          <DecideDialog request={request} decision={decision} onClose={() => setDecision(null)} />
        </Suspense>
      )}
    </div>
  );
}

/** An emergency is offered only to those who may declare one. */
function offeredDecisions(request: Request, isMine: boolean): DecisionKind[] {
  if (request.state !== 'pending') return ['comment', 'cancel'];
  return [
    'approve',
    'reject',
    'comment',
    'renew',
    ...(request.mayDecide.override.missingRight === null ? (['override'] as const) : []),
    ...(isMine || request.mayDecide.cancel.allowed ? (['cancel'] as const) : []),
  ];
}
