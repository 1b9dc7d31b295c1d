import { Button, Label } from '@patternfly/react-core';
import { getRouteApi } from '@tanstack/react-router';
import { useCallback, useState } from 'react';
import { auditOutcomeSchema } from '../../contract/audit-events.ts';
import type { AuditEvent } from '../../contract/audit-events.ts';
import { useItems } from '../api.ts';
import { LIST_STEP } from '../limits.ts';
import { AuditDetail } from '../parts/audit-detail.tsx';
import { ChainState } from '../parts/chain-state.tsx';
import { DataTable } from '../parts/data-table.tsx';
import { Empty } from '../parts/empty.tsx';
import { Choice, FilterBar, SearchField } from '../parts/filters.tsx';
import { StateLabel } from '../parts/labels.tsx';
import { Loaded } from '../parts/loaded.tsx';
import { MoreButton } from '../parts/more-button.tsx';
import { PageFrame } from '../parts/page-frame.tsx';
import { TimeText } from '../parts/time-text.tsx';
import { useFormat } from '../parts/use-format.ts';
import { useTexts } from '../texts/i18n.ts';

const route = getRouteApi('/audit');

export function AuditPage(): React.ReactElement {
  const { t } = useTexts();
  const search = route.useSearch();
  const [count, setCount] = useState(LIST_STEP);
  const outcome = auditOutcomeSchema.safeParse(search.outcome).data;
  const events = useItems(
    'auditEventList',
    {
      query: {
        ...(search.action === undefined ? {} : { action: search.action }),
        ...(outcome === undefined ? {} : { outcome }),
      },
    },
    { maxItems: count },
  );
  return (
    <PageFrame title={t('audit.title')} actions={<ChainState />}>
      <AuditFilters />
      <Loaded query={events}>
        {({ items, hasMore }) =>
          items.length === 0 ? (
            <Empty title={t('audit.empty')} body={t('audit.emptyBody')} />
          ) : (
            <>
              <AuditTable events={items} />
              <MoreButton
                count={items.length}
                hasMore={hasMore}
                isBusy={events.isFetching}
                onMore={() => setCount(count + LIST_STEP)}
              />
            </>
          )
        }
      </Loaded>
    </PageFrame>
  );
}

function AuditFilters(): React.ReactElement {
  const { t, word } = useTexts();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const change = useCallback(
    (part: Partial<typeof search>) =>
      void navigate({ search: (before) => ({ ...before, ...part }), replace: true }),
    [navigate],
  );
  const onAction = useCallback((text: string) => change({ action: text || undefined }), [change]);
  return (
    <FilterBar>
      <SearchField
        label={t('audit.actionFilter')}
        value={search.action ?? ''}
        onChange={onAction}
      />
      <Choice
        label={t('audit.outcome')}
        value={search.outcome ?? ''}
        options={[
          { value: '', label: t('audit.anyOutcome') },
          ...auditOutcomeSchema.options.map((value) => ({ value, label: word('outcome', value) })),
        ]}
        onChange={(value) => change({ outcome: value || undefined })}
      />
    </FilterBar>
  );
}

function AuditTable({ events }: { readonly events: readonly AuditEvent[] }): React.ReactElement {
  const { t, word } = useTexts();
  const format = useFormat();
  const [shown, setShown] = useState<AuditEvent | null>(null);
  return (
    <>
      <DataTable
        label={t('audit.title')}
        items={events}
        keyOf={(event) => String(event.sequence)}
        columns={[
          {
            title: t('audit.sequence'),
            cell: (event) => (
              <Button
                variant="link"
                isInline
                aria-label={t('audit.detail', { sequence: event.sequence })}
                onClick={() => setShown(event)}
              >
                {format.number(event.sequence)}
              </Button>
            ),
          },
          { title: t('audit.time'), cell: (event) => <TimeText at={event.at} /> },
          {
            title: t('audit.actor'),
            cell: (event) => (
              <>
                {event.actor.name}{' '}
                <Label isCompact variant="outline">
                  {word('principal-kind', event.actor.kind)}
                </Label>
              </>
            ),
          },
          { title: t('audit.action'), cell: (event) => <code>{event.action}</code> },
          {
            title: t('audit.what'),
            cell: (event) => event.resourceName ?? event.resourceId ?? event.resourceType,
          },
          {
            title: t('audit.outcome'),
            cell: (event) => <StateLabel group="outcome" state={event.outcome} />,
          },
        ]}
      />
      {shown === null ? null : <AuditDetail event={shown} onClose={() => setShown(null)} />}
    </>
  );
}
