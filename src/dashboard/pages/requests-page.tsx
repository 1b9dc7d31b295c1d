import { getRouteApi, Link } from '@tanstack/react-router';
import { useState } from 'react';
import type { Request, RequestState } from '../../contract/requests.ts';
import { useItems } from '../api.ts';
import { LIST_STEP } from '../limits.ts';
import { DataTable } from '../parts/data-table.tsx';
import { Empty } from '../parts/empty.tsx';
import { Switcher } from '../parts/filters.tsx';
import { StateLabel } from '../parts/labels.tsx';
import { Loaded } from '../parts/loaded.tsx';
import { MoreButton } from '../parts/more-button.tsx';
import { PageFrame } from '../parts/page-frame.tsx';
import { RequestDecisions } from '../parts/request-decisions.tsx';
import { RequestTitle } from '../parts/request-title.tsx';
import { TimeText } from '../parts/time-text.tsx';
import { useTexts } from '../texts/i18n.ts';

const route = getRouteApi('/requests');

const STATES = {
  waiting: ['pending'],
  open: ['approved', 'executing'],
  closed: ['succeeded', 'failed', 'rejected', 'expired', 'cancelled'],
} as const satisfies Record<string, readonly RequestState[]>;

type Group = keyof typeof STATES;
const GROUPS: readonly Group[] = ['waiting', 'open', 'closed'];

export function RequestsPage(): React.ReactElement {
  const { t } = useTexts();
  const { show } = route.useSearch();
  const navigate = route.useNavigate();
  const group = GROUPS.find((name) => name === show) ?? 'waiting';
  return (
    <PageFrame
      title={t('requests.title')}
      actions={
        <Switcher
          label={t('requests.which')}
          value={group}
          options={GROUPS.map((value) => ({ value, label: t(`requests.${value}`) }))}
          onChange={(value) => void navigate({ search: { show: value } })}
        />
      }
    >
      <RequestList key={group} group={group} />
    </PageFrame>
  );
}

function RequestList({ group }: { readonly group: Group }): React.ReactElement {
  const { t } = useTexts();
  const [count, setCount] = useState(LIST_STEP);
  const requests = useItems(
    'requestList',
    { query: { state: [...STATES[group]] } },
    { maxItems: count },
  );
  const isWaiting = group === 'waiting';
  return (
    <Loaded query={requests}>
      {({ items, hasMore }) =>
        items.length === 0 ? (
          <Empty
            title={t(isWaiting ? 'requests.empty' : 'requests.emptyOther')}
            body={t(isWaiting ? 'requests.emptyBody' : 'requests.emptyOtherBody')}
          />
        ) : (
          <>
            <RequestTable requests={items} isWaiting={isWaiting} />
            <MoreButton
              count={items.length}
              hasMore={hasMore}
              isBusy={requests.isFetching}
              onMore={() => setCount(count + LIST_STEP)}
            />
          </>
        )
      }
    </Loaded>
  );
}

function RequestTable(props: {
  readonly requests: readonly Request[];
  readonly isWaiting: boolean;
}): React.ReactElement {
  const { t } = useTexts();
  return (
    <DataTable
      label={t('requests.title')}
      items={props.requests}
      keyOf={(request) => request.id}
      columns={[
        {
          title: t('field.request'),
          cell: (request) => (
            <Link to="/requests/$requestId" params={{ requestId: request.id }}>
              <RequestTitle request={request} />
            </Link>
          ),
        },
        {
          title: t('field.requestedBy'),
          isOneLine: true,
          cell: (request) => request.requestedBy.name,
        },
        {
          title: t('field.reason'),
          cell: (request) => request.reason ?? <span className="kd-quiet">{t('common.none')}</span>,
        },
        {
          title: t('field.requested'),
          isOneLine: true,
          cell: (request) => <TimeText at={request.createdAt} relative />,
        },
        props.isWaiting
          ? {
              title: t('field.expires'),
              isOneLine: true,
              cell: (request) => <TimeText at={request.expiresAt} relative />,
            }
          : {
              title: t('field.state'),
              cell: (request) => <StateLabel group="request-state" state={request.state} />,
            },
        {
          title: t('common.actions'),
          isActions: true,
          cell: (request) => <RequestDecisions request={request} isBrief />,
        },
      ]}
    />
  );
}
