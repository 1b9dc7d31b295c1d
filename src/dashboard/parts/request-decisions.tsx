import { lazy, Suspense, useState } from 'react';
import type { DecisionKind } from '../../contract/confirmation.ts';
import type { Request } from '../../contract/requests.ts';
import { useWhoami } from '../api.ts';
import { offeredDecisions } from '../logic/offered-decisions.ts';
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
export function RequestDecisions(props: {
  readonly request: Request;
  /** Only what decides, for a row of a list. */
  readonly isBrief?: boolean;
}): React.ReactNode {
  const { t } = useTexts();
  const { request, isBrief = false } = props;
  const [decision, setDecision] = useState<DecisionKind | null>(null);
  const whoami = useWhoami().data;
  const offered = offeredDecisions(request, { callerId: whoami?.principal.id, isBrief });
  if (offered.length === 0) return null;
  return (
    <div className="kd-actions">
      {offered.map((kind) => (
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
