import { Button, Checkbox } from '@patternfly/react-core';
import { getRouteApi, Link } from '@tanstack/react-router';
import { useCallback } from 'react';
import type { Vm } from '../../contract/vms.ts';
import { vmStateSchema } from '../../shared/inventory.ts';
import { useItems } from '../api.ts';
import { VMS_MAX } from '../limits.ts';
import { filterVms, labelsOf } from '../logic/vm-filter.ts';
import { DataTable } from '../parts/data-table.tsx';
import type { Column } from '../parts/data-table.tsx';
import { Empty } from '../parts/empty.tsx';
import { Choice, FilterBar, SearchField } from '../parts/filters.tsx';
import { KeyValueLabels, StateLabel } from '../parts/labels.tsx';
import { Loaded } from '../parts/loaded.tsx';
import { PageFrame } from '../parts/page-frame.tsx';
import { PagedRows } from '../parts/paged-rows.tsx';
import { TimeText } from '../parts/time-text.tsx';
import { useFormat } from '../parts/use-format.ts';
import { useTexts } from '../texts/i18n.ts';

const route = getRouteApi('/vms');

export function VmsPage(): React.ReactElement {
  const { t } = useTexts();
  const vms = useItems('vmList', { query: { limit: 500 } }, { maxItems: VMS_MAX });
  return (
    <PageFrame title={t('vms.title')}>
      <Loaded query={vms}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty title={t('vms.empty')} body={t('vms.emptyBody')} />
          ) : (
            <VmList vms={items} />
          )
        }
      </Loaded>
    </PageFrame>
  );
}

function VmList({ vms }: { readonly vms: readonly Vm[] }): React.ReactElement {
  const { t } = useTexts();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const filtered = filterVms(vms, {
    search: search.search ?? '',
    state: search.state ?? '',
    label: search.label ?? '',
    gone: search.gone === true,
  });
  return (
    <>
      <VmFilters vms={vms} />
      {filtered.length === 0 ? (
        <Empty title={t('common.noMatch')}>
          <Button variant="link" onClick={() => void navigate({ search: {}, replace: true })}>
            {t('common.clearFilters')}
          </Button>
        </Empty>
      ) : (
        <PagedRows items={filtered}>{(rows) => <VmTable vms={rows} />}</PagedRows>
      )}
    </>
  );
}

function VmFilters({ vms }: { readonly vms: readonly Vm[] }): React.ReactElement {
  const { t, word } = useTexts();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const change = useCallback(
    (part: Partial<typeof search>) =>
      void navigate({ search: (before) => ({ ...before, ...part }), replace: true }),
    [navigate],
  );
  const onSearch = useCallback((text: string) => change({ search: text || undefined }), [change]);
  const labels = [...new Set(vms.flatMap((vm) => labelsOf(vm.labels)))].sort();
  return (
    <FilterBar>
      <SearchField label={t('vms.search')} value={search.search ?? ''} onChange={onSearch} />
      <Choice
        label={t('vms.state')}
        value={search.state ?? ''}
        options={[
          { value: '', label: t('vms.anyState') },
          ...vmStateSchema.options.map((value) => ({ value, label: word('vm-state', value) })),
        ]}
        onChange={(value) => change({ state: value || undefined })}
      />
      {labels.length === 0 ? null : (
        <Choice
          label={t('vms.label')}
          value={search.label ?? ''}
          options={[
            { value: '', label: t('vms.anyLabel') },
            ...labels.map((value) => ({ value, label: value })),
          ]}
          onChange={(value) => change({ label: value || undefined })}
        />
      )}
      <Checkbox
        id="gone"
        label={t('vms.gone')}
        isChecked={search.gone === true}
        onChange={(_, isChecked) => change({ gone: isChecked ? true : undefined })}
      />
    </FilterBar>
  );
}

function VmTable({ vms }: { readonly vms: readonly Vm[] }): React.ReactElement {
  const { t } = useTexts();
  const format = useFormat();
  const columns: Column<Vm>[] = [
    {
      title: t('field.name'),
      isOneLine: true,
      cell: (vm) => (
        <Link to="/vms/$vmId" params={{ vmId: vm.id }}>
          {vm.name}
        </Link>
      ),
    },
    {
      title: t('field.state'),
      cell: (vm) => <StateLabel group="vm-state" state={vm.present ? vm.state : 'gone'} />,
    },
    { title: t('field.host'), cell: (vm) => vm.host.name },
    {
      title: t('field.memory'),
      cell: (vm) => format.bytes(vm.description.memoryBytes),
      isNumber: true,
    },
    {
      title: t('field.disks'),
      cell: (vm) =>
        format.bytes(vm.description.disks.reduce((sum, disk) => sum + disk.sizeBytes, 0)),
      isNumber: true,
    },
    {
      title: t('field.snapshots'),
      cell: (vm) => format.number(vm.snapshotCount),
      isNumber: true,
    },
    {
      title: t('field.lastSnapshot'),
      isOneLine: true,
      cell: (vm) => <TimeText at={vm.lastSnapshotAt} relative />,
    },
    { title: t('field.labels'), cell: (vm) => <KeyValueLabels labels={vm.labels} /> },
  ];
  return <DataTable label={t('vms.title')} columns={columns} items={vms} keyOf={(vm) => vm.id} />;
}
