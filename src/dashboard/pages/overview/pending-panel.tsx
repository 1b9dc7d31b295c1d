import { Link } from '@tanstack/react-router';
import { useItems } from '../../api.ts';
import { Loaded } from '../../parts/loaded.tsx';
import { Panel } from '../../parts/panel.tsx';
import { RequestTitle } from '../../parts/request-title.tsx';
import { TimeText } from '../../parts/time-text.tsx';
import { useTexts } from '../../texts/i18n.ts';

const SHOWN = 6;

export function PendingPanel(): React.ReactElement {
  const { t } = useTexts();
  const requests = useItems('requestList', { query: { state: ['pending'] } }, { maxItems: 100 });
  return (
    <Panel
      title={t('overview.pending')}
      actions={<Link to="/requests">{t('overview.showAll')}</Link>}
    >
      <Loaded query={requests}>
        {({ items }) =>
          items.length === 0 ? (
            <p className="kd-quiet">{t('overview.nothingPending')}</p>
          ) : (
            <ul className="kd-rows">
              {items.slice(0, SHOWN).map((request) => (
                <li key={request.id}>
                  <Link to="/requests/$requestId" params={{ requestId: request.id }}>
                    <RequestTitle request={request} />
                  </Link>
                  <span className="kd-quiet">
                    {request.requestedBy.name}
                    {request.approvalsNeeded > 1
                      ? ` · ${t('request.approvalsOf', {
                          given: request.approvalsGiven,
                          needed: request.approvalsNeeded,
                        })}`
                      : null}
                  </span>
                  <TimeText at={request.createdAt} relative />
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </Panel>
  );
}
