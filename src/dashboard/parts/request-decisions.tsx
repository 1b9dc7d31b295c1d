import { lazy, Suspense, useState } from 'react';
import type { Request } from '../../contract/requests.ts';
import { requestCan, requestIsOver } from '../../contract/state-predicates.ts';
import { useWhoami } from '../api.ts';
import type { Decision } from '../dialogs/decide-dialog.tsx';
import { permit } from '../logic/verdicts.ts';
import { useTexts } from '../texts/i18n.ts';
import { PermissionButton } from './permission.tsx';

const DecideDialog = lazy(async () => ({
  default: (await import('../dialogs/decide-dialog.tsx')).DecideDialog,
}));

/** Approve, reject, cancel: what one may not do says why. */
export function RequestDecisions({ request }: { readonly request: Request }): React.ReactNode {
  const { t } = useTexts();
  const [decision, setDecision] = useState<Decision | null>(null);
  const whoami = useWhoami().data;
  if (requestIsOver(request.state)) return null;
  const isMine = request.requestedBy.id === whoami?.principal.id;
  return (
    <div className="kd-actions">
      {request.state === 'pending' ? (
        <>
          <PermissionButton
            size="sm"
            variant="primary"
            permission={permit(
              requestCan.approve(request, whoami?.principal.id ?? ''),
              'approve',
              whoami?.rights,
            )}
            onClick={() => setDecision('approve')}
          >
            {t('request.approve')}
          </PermissionButton>
          <PermissionButton
            size="sm"
            variant="secondary"
            isDanger
            permission={permit(requestCan.reject(request), 'approve', whoami?.rights)}
            onClick={() => setDecision('reject')}
          >
            {t('request.reject')}
          </PermissionButton>
        </>
      ) : null}
      {isMine || request.state !== 'pending' ? (
        <PermissionButton
          size="sm"
          variant="link"
          isDanger
          permission={requestCan.cancel(request)}
          onClick={() => setDecision('cancel')}
        >
          {t('request.cancel')}
        </PermissionButton>
      ) : null}
      {decision === null ? null : (
        <Suspense fallback={null}>
          <DecideDialog request={request} decision={decision} onClose={() => setDecision(null)} />
        </Suspense>
      )}
    </div>
  );
}
