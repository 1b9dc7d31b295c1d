import { Label } from '@patternfly/react-core';
import { useCall, useWhoami } from '../api.ts';
import { permit } from '../logic/verdicts.ts';
import { useTexts } from '../texts/i18n.ts';
import { PermissionButton } from './permission.tsx';

/** Whether the audit trail is as it was written; read anew on demand, since it reads everything. */
export function ChainState(): React.ReactElement {
  const { t } = useTexts();
  const rights = useWhoami().data?.rights;
  const verification = useCall('auditVerify', {}, { enabled: false });
  const { data } = verification;
  return (
    <>
      <span role="status" title={data?.firstBroken?.reason}>
        {data === undefined ? null : (
          <Label
            status={data.intact ? 'success' : 'danger'}
            title={t('audit.head', { hash: data.headHash ?? t('common.none') })}
          >
            {data.firstBroken === null
              ? t('audit.intact', { count: data.eventsChecked })
              : t('audit.broken', { sequence: data.firstBroken.sequence })}
          </Label>
        )}
      </span>
      <PermissionButton
        variant="secondary"
        permission={permit({ allowed: true }, 'read-audit', rights)}
        isLoading={verification.isFetching}
        onClick={() => void verification.refetch()}
      >
        {t('audit.verify')}
      </PermissionButton>
    </>
  );
}
