import { getRouteApi, Link } from '@tanstack/react-router';
import type { Snapshot } from '../../contract/snapshots.ts';
import { useCall } from '../api.ts';
import { DataTable } from '../parts/data-table.tsx';
import { Facts } from '../parts/facts.tsx';
import type { Fact } from '../parts/facts.tsx';
import { KeyValueLabels, LevelLabel, StateLabel } from '../parts/labels.tsx';
import { Loaded } from '../parts/loaded.tsx';
import { PageFrame } from '../parts/page-frame.tsx';
import { Panel } from '../parts/panel.tsx';
import { FailureAlert } from '../parts/problem-alert.tsx';
import { SnapshotButtons } from '../parts/snapshot-actions.tsx';
import { TimeText } from '../parts/time-text.tsx';
import { useFormat } from '../parts/use-format.ts';
import { useTexts } from '../texts/i18n.ts';

const route = getRouteApi('/snapshots/$snapshotId');

export function SnapshotPage(): React.ReactElement {
  const { t } = useTexts();
  const { snapshotId } = route.useParams();
  const snapshot = useCall('snapshotGet', { params: { id: snapshotId } });
  const { data } = snapshot;
  return (
    <PageFrame
      title={data?.name ?? t('field.snapshot')}
      above={
        data ? (
          <Link to="/vms/$vmId" params={{ vmId: data.vmId }}>
            {data.vmName}
          </Link>
        ) : (
          <Link to="/snapshots">{t('snapshots.title')}</Link>
        )
      }
      badges={data ? <StateLabel group="snapshot-state" state={data.state} /> : null}
      actions={data ? <SnapshotButtons snapshot={data} /> : null}
    >
      <Loaded query={snapshot}>{(loaded) => <SnapshotContent snapshot={loaded} />}</Loaded>
    </PageFrame>
  );
}

function SnapshotContent({ snapshot }: { readonly snapshot: Snapshot }): React.ReactElement {
  const { t, word } = useTexts();
  return (
    <div className="kd-stack">
      {snapshot.failure === null ? null : (
        <FailureAlert title={word('snapshot-state', 'failed')} failure={snapshot.failure} />
      )}
      {snapshot.damage.length === 0 ? null : <Damage snapshot={snapshot} />}
      <div className="kd-main-and-side">
        <Panel title={t('snapshot.facts')}>
          <SnapshotFacts snapshot={snapshot} />
        </Panel>
        <div className="kd-stack">
          <SnapshotDisks snapshot={snapshot} />
          {snapshot.pausePhases.length === 0 ? null : <PausePhases snapshot={snapshot} />}
        </div>
      </div>
      <p className="kd-quiet">{t('snapshot.notSnapshotIsBackup')}</p>
    </div>
  );
}

function SnapshotFacts({ snapshot }: { readonly snapshot: Snapshot }): React.ReactElement {
  const { t, word } = useTexts();
  const format = useFormat();
  const { sizes, pauseMs, level, memoryMode, parentSnapshotId } = snapshot;
  const facts: (Fact | null)[] = [
    snapshot.description === '' ? null : [t('field.description'), snapshot.description],
    [t('field.kind'), word('kind', snapshot.kind)],
    level === null ? null : [t('field.level'), <LevelLabel level={level} reason={null} />],
    snapshot.levelReason === null
      ? null
      : [t('field.levelReason'), <span lang="en">{snapshot.levelReason}</span>],
    [t('field.captured'), <TimeText at={snapshot.capturedAt} />],
    pauseMs === null || level === 'offline' ? null : [t('field.pause'), format.duration(pauseMs)],
    memoryMode === null ? null : [t('field.memoryMode'), word('memory-mode', memoryMode)],
    sizes === null ? null : [t('field.logical'), format.bytes(sizes.logicalBytes)],
    sizes === null ? null : [t('field.read'), format.bytes(sizes.readBytes)],
    sizes === null ? null : [t('field.new'), format.bytes(sizes.newBytes)],
    sizes === null ? null : [t('field.stored'), format.bytes(sizes.storedBytes)],
    parentSnapshotId === null ? null : [t('field.parent'), <ParentLink id={parentSnapshotId} />],
    [t('field.createdBy'), snapshot.createdBy.name],
    [t('field.pinned'), t(snapshot.pinned ? 'common.yes' : 'common.no')],
    [t('field.expires'), <TimeText at={snapshot.expiresAt} />],
    [t('field.verified'), <TimeText at={snapshot.lastVerifiedAt} relative />],
    [t('field.labels'), <KeyValueLabels labels={snapshot.labels} />],
    snapshot.manifestDigest === null
      ? null
      : [t('field.digest'), <code className="kd-path">{snapshot.manifestDigest}</code>],
  ];
  return <Facts facts={facts} />;
}

function ParentLink({ id }: { readonly id: string }): React.ReactElement {
  const parent = useCall('snapshotGet', { params: { id } });
  return (
    <Link to="/snapshots/$snapshotId" params={{ snapshotId: id }}>
      {parent.data?.name ?? id}
    </Link>
  );
}

function SnapshotDisks({ snapshot }: { readonly snapshot: Snapshot }): React.ReactElement {
  const { t } = useTexts();
  const format = useFormat();
  return (
    <Panel title={t('snapshot.disksHeld')}>
      <ul className="kd-list">
        {snapshot.disks.map((disk) => (
          <li key={disk.target}>
            {disk.target}: {disk.format}, {format.bytes(disk.sizeBytes)}
          </li>
        ))}
        {snapshot.skippedDisks.map((disk) => (
          <li key={disk.target}>{t('plan.skipped', disk)}</li>
        ))}
      </ul>
    </Panel>
  );
}

function PausePhases({ snapshot }: { readonly snapshot: Snapshot }): React.ReactElement {
  const { t } = useTexts();
  const format = useFormat();
  return (
    <Panel title={t('snapshot.pausePhases')}>
      <Facts
        facts={snapshot.pausePhases.map((phase): Fact => [
          phase.name,
          format.duration(phase.durationMs),
        ])}
      />
    </Panel>
  );
}

function Damage({ snapshot }: { readonly snapshot: Snapshot }): React.ReactElement {
  const { t } = useTexts();
  const format = useFormat();
  return (
    <Panel title={t('snapshot.damage')}>
      <DataTable
        label={t('snapshot.damage')}
        items={snapshot.damage}
        keyOf={(damage) => `${damage.part} ${damage.offset}`}
        columns={[
          { title: t('snapshot.part'), cell: (damage) => damage.part },
          { title: t('snapshot.offset'), cell: (damage) => format.number(damage.offset) },
          { title: t('snapshot.length'), cell: (damage) => format.bytes(damage.lengthBytes) },
          {
            title: t('field.reason'),
            cell: (damage) => <span lang="en">{damage.reason}</span>,
          },
        ]}
      />
    </Panel>
  );
}
