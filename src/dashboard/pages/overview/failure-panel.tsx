import { Link } from '@tanstack/react-router';
import { useItems } from '../../api.ts';
import { Loaded } from '../../parts/loaded.tsx';
import { Panel } from '../../parts/panel.tsx';
import { RequestTitle } from '../../parts/request-title.tsx';
import { TimeText } from '../../parts/time-text.tsx';
import { useNow } from '../../parts/use-format.ts';
import { useTexts } from '../../texts/i18n.ts';

const SHOWN = 6;
const DAY_MS = 86_400_000;

export function FailurePanel(): React.ReactElement {
  const { t, word } = useTexts();
  const since = new Date(useNow().getTime() - DAY_MS).toISOString();
  const requests = useItems('requestList', { query: { state: ['failed'] } }, { maxItems: 100 });
  return (
    <Panel
      title={t('overview.failed')}
      actions={
        <Link to="/requests" search={{ show: 'closed' }}>
          {t('overview.showAll')}
        </Link>
      }
    >
      <Loaded query={requests}>
        {({ items }) => {
          const recent = items.filter((request) => (request.finishedAt ?? '') >= since);
          if (recent.length === 0) return <p className="kd-quiet">{t('overview.nothingFailed')}</p>;
          return (
            <ul className="kd-rows">
              {recent.slice(0, SHOWN).map((request) => (
                <li key={request.id}>
                  <Link to="/requests/$requestId" params={{ requestId: request.id }}>
                    <RequestTitle request={request} />
                  </Link>
                  <span className="kd-danger">{word('error', request.failure?.code ?? '')}</span>
                  <TimeText at={request.finishedAt} relative />
                </li>
              ))}
            </ul>
          );
        }}
      </Loaded>
    </Panel>
  );
}
