import { getRouteApi, Link } from '@tanstack/react-router';
import { useCallback, useState } from 'react';
import type { Snapshot } from '../../contract/snapshots.ts';
import { snapshotStateSchema } from '../../contract/snapshots.ts';
import { consistencyLevelSchema } from '../../shared/inventory.ts';
import { useItems } from '../api.ts';
import { LIST_STEP } from '../limits.ts';
import { DataTable } from '../parts/data-table.tsx';
import type { Column } from '../parts/data-table.tsx';
import { Empty } from '../parts/empty.tsx';
import { Choice, FilterBar, SearchField } from '../parts/filters.tsx';
import { LevelLabel, StateLabel } from '../parts/labels.tsx';
import { Loaded } from '../parts/loaded.tsx';
import { MoreButton } from '../parts/more-button.tsx';
import { PageFrame } from '../parts/page-frame.tsx';
import { SnapshotMenu } from '../parts/snapshot-actions.tsx';
import { TimeText } from '../parts/time-text.tsx';
import { useFormat } from '../parts/use-format.ts';
import { useTexts } from '../texts/i18n.ts';

const route = getRouteApi('/snapshots');

export function SnapshotsPage(): React.ReactElement {
  const { t } = useTexts();
  const search = route.useSearch();
  const [count, setCount] = useState(LIST_STEP);
  const state = snapshotStateSchema.safeParse(search.state).data;
  const level = consistencyLevelSchema.safeParse(search.level).data;
  const snapshots = useItems(
    'snapshotList',
    {
      query: {
        ...(search.search === undefined ? {} : { search: search.search }),
        ...(state === undefined ? {} : { state: [state] }),
        ...(level === undefined ? {} : { level: [level] }),
      },
    },
    { maxItems: count },
  );
  const isFiltered = search.search !== undefined || state !== undefined || level !== undefined;
  return (
    <PageFrame title={t('snapshots.title')}>
      <SnapshotFilters />
      <Loaded query={snapshots}>
        {({ items, hasMore }) =>
          items.length === 0 ? (
            <Empty
              title={t(isFiltered ? 'common.noMatch' : 'snapshots.empty')}
              body={isFiltered ? undefined : t('snapshots.emptyBody')}
            />
          ) : (
            <>
              <SnapshotTable snapshots={items} />
              <MoreButton
                count={items.length}
                hasMore={hasMore}
                isBusy={snapshots.isFetching}
                onMore={() => setCount(count + LIST_STEP)}
              />
            </>
          )
        }
      </Loaded>
    </PageFrame>
  );
}

function SnapshotFilters(): React.ReactElement {
  const { t, word } = useTexts();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const change = useCallback(
    (part: Partial<typeof search>) =>
      void navigate({ search: (before) => ({ ...before, ...part }), replace: true }),
    [navigate],
  );
  const onSearch = useCallback((text: string) => change({ search: text || undefined }), [change]);
  return (
    <FilterBar>
      <SearchField label={t('snapshots.search')} value={search.search ?? ''} onChange={onSearch} />
      <Choice
        label={t('field.level')}
        value={search.level ?? ''}
        options={[
          { value: '', label: t('snapshots.anyLevel') },
          ...consistencyLevelSchema.options.map((value) => ({
            value,
            label: word('level', value),
          })),
        ]}
        onChange={(value) => change({ level: value || undefined })}
      />
      <Choice
        label={t('field.state')}
        value={search.state ?? ''}
        options={[
          { value: '', label: t('snapshots.anyState') },
          ...snapshotStateSchema.options.map((value) => ({
            value,
            label: word('snapshot-state', value),
          })),
        ]}
        onChange={(value) => change({ state: value || undefined })}
      />
    </FilterBar>
  );
}

function SnapshotTable(props: { readonly snapshots: readonly Snapshot[] }): React.ReactElement {
  const { t } = useTexts();
  const format = useFormat();
  const columns: Column<Snapshot>[] = [
    {
      title: t('field.name'),
      cell: (snapshot) => (
        <Link to="/snapshots/$snapshotId" params={{ snapshotId: snapshot.id }}>
          {snapshot.name}
        </Link>
      ),
    },
    {
      title: t('field.vm'),
      isOneLine: true,
      cell: (snapshot) => (
        <Link to="/vms/$vmId" params={{ vmId: snapshot.vmId }}>
          {snapshot.vmName}
        </Link>
      ),
    },
    {
      title: t('field.state'),
      cell: (snapshot) => <StateLabel group="snapshot-state" state={snapshot.state} />,
    },
    {
      title: t('field.level'),
      cell: (snapshot) =>
        snapshot.level === null ? null : (
          <LevelLabel level={snapshot.level} reason={snapshot.levelReason} />
        ),
    },
    {
      title: t('field.captured'),
      isOneLine: true,
      cell: (snapshot) => <TimeText at={snapshot.capturedAt ?? snapshot.createdAt} />,
    },
    {
      title: t('field.stored'),
      isNumber: true,
      cell: (snapshot) => (snapshot.sizes ? format.bytes(snapshot.sizes.storedBytes) : null),
    },
    {
      title: t('common.actions'),
      isActions: true,
      cell: (snapshot) => <SnapshotMenu snapshot={snapshot} />,
    },
  ];
  return (
    <DataTable
      label={t('snapshots.title')}
      columns={columns}
      items={props.snapshots}
      keyOf={(snapshot) => snapshot.id}
    />
  );
}
