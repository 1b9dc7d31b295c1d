import { getRouteApi, Link } from '@tanstack/react-router';
import { lazy, Suspense, useState } from 'react';
import { vmCan } from '../../contract/state-predicates.ts';
import { snapshotStateSchema } from '../../contract/snapshots.ts';
import type { Vm } from '../../contract/vms.ts';
import { useCall, useItems, useWhoami } from '../api.ts';
import { SNAPSHOTS_OF_VM_MAX } from '../limits.ts';
import { permit } from '../logic/verdicts.ts';
import { Empty } from '../parts/empty.tsx';
import { StateLabel } from '../parts/labels.tsx';
import { Loaded } from '../parts/loaded.tsx';
import { PageFrame } from '../parts/page-frame.tsx';
import { Panel } from '../parts/panel.tsx';
import { PermissionButton } from '../parts/permission.tsx';
import { Timeline } from '../parts/timeline.tsx';
import { VmDisks, VmFacts } from '../parts/vm-facts.tsx';
import { useTexts } from '../texts/i18n.ts';
import { Note } from '../parts/note.tsx';

const route = getRouteApi('/vms/$vmId');
const CreateDialog = lazy(async () => ({
  default: (await import('../dialogs/create-dialog.tsx')).CreateDialog,
}));
const LabelsDialog = lazy(async () => ({
  default: (await import('../dialogs/labels-dialog.tsx')).LabelsDialog,
}));

export function VmPage(): React.ReactElement {
  const { t } = useTexts();
  const { vmId } = route.useParams();
  const vm = useCall('vmGet', { params: { id: vmId } });
  return (
    <PageFrame
      title={vm.data?.name ?? t('vm.notFound')}
      above={<Link to="/vms">{t('vms.title')}</Link>}
      badges={
        vm.data ? (
          <StateLabel group="vm-state" state={vm.data.present ? vm.data.state : 'gone'} />
        ) : null
      }
      actions={vm.data ? <VmActions vm={vm.data} /> : null}
    >
      <Loaded query={vm}>{(data) => <VmContent vm={data} />}</Loaded>
    </PageFrame>
  );
}

function VmActions({ vm }: { readonly vm: Vm }): React.ReactElement {
  const { t } = useTexts();
  const [dialog, setDialog] = useState<'create' | 'labels' | null>(null);
  const rights = useWhoami().data?.rights;
  const close = (): void => setDialog(null);
  return (
    <>
      <PermissionButton
        variant="primary"
        permission={permit(vmCan.capture(vm), 'create', rights)}
        onClick={() => setDialog('create')}
      >
        {t('vms.snapshotNow')}
      </PermissionButton>
      <PermissionButton
        variant="secondary"
        permission={permit({ allowed: true }, 'manage-access', rights)}
        onClick={() => setDialog('labels')}
      >
        {t('vm.editLabels')}
      </PermissionButton>
      <Suspense fallback={null}>
        {dialog === 'create' ? <CreateDialog vm={vm} onClose={close} /> : null}
        {dialog === 'labels' ? <LabelsDialog vm={vm} onClose={close} /> : null}
      </Suspense>
    </>
  );
}

function VmContent({ vm }: { readonly vm: Vm }): React.ReactElement {
  const { t } = useTexts();
  return (
    <div className="kd-stack">
      {vm.present ? null : <Note variant="warning" level="h2" title={t('vm.goneNotice')} />}
      <div className="kd-main-and-side">
        <Panel title={t('vm.timeline')}>
          <VmTimeline vm={vm} />
        </Panel>
        <div className="kd-stack">
          <Panel title={t('vm.facts')}>
            <VmFacts vm={vm} />
          </Panel>
          <Panel title={t('vm.disks')}>
            <VmDisks disks={vm.description.disks} />
          </Panel>
        </div>
      </div>
    </div>
  );
}

function VmTimeline({ vm }: { readonly vm: Vm }): React.ReactElement {
  const { t } = useTexts();
  // Deleted ones too: the line of descent goes through them.
  const snapshots = useItems(
    'snapshotList',
    { query: { vmId: vm.id, state: [...snapshotStateSchema.options], limit: 500 } },
    { maxItems: SNAPSHOTS_OF_VM_MAX },
  );
  return (
    <Loaded query={snapshots}>
      {({ items }) =>
        items.every((snapshot) => snapshot.state === 'deleted') ? (
          <Empty title={t('vm.noSnapshots')} body={t('vm.noSnapshotsBody')} />
        ) : (
          <Timeline vm={vm} snapshots={items} />
        )
      }
    </Loaded>
  );
}
