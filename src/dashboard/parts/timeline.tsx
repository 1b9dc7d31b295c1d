import { Label } from '@patternfly/react-core';
import { LockIcon } from '@patternfly/react-icons/dist/esm/icons/lock-icon';
import { Link } from '@tanstack/react-router';
import type { Snapshot } from '../../contract/snapshots.ts';
import type { Vm } from '../../contract/vms.ts';
import { layOutSnapshots } from '../logic/snapshot-graph.ts';
import type { GraphRow } from '../logic/snapshot-graph.ts';
import { useTexts } from '../texts/i18n.ts';
import { LevelLabel, StateLabel } from './labels.tsx';
import { SnapshotMenu } from './snapshot-actions.tsx';
import { TimeText } from './time-text.tsx';
import { useFormat } from './use-format.ts';

const LANE_WIDTH = 18;
const DOT_Y = 22;
const laneX = (lane: number): number => LANE_WIDTH / 2 + lane * LANE_WIDTH;

/** The snapshots of a VM as a tree, newest first, with where the VM stands now. */
export function Timeline(props: {
  readonly vm: Vm;
  readonly snapshots: readonly Snapshot[];
}): React.ReactElement {
  const { t } = useTexts();
  const { vm } = props;
  const graph = layOutSnapshots(props.snapshots, vm.currentSnapshotId, vm.present);
  return (
    <ol className="kd-timeline" aria-label={t('vm.timeline')}>
      {graph.rows.map((row) => (
        <li key={row.snapshot?.id ?? 'now'} className="kd-timeline-row">
          <Lanes row={row} laneCount={graph.laneCount} />
          {row.snapshot === null ? (
            <div className="kd-timeline-body">
              <Label isCompact color="blue" variant="filled">
                {t('vm.here')}
              </Label>{' '}
              <span className="kd-quiet">{t('vm.hereBody')}</span>
            </div>
          ) : (
            <SnapshotRow
              snapshot={row.snapshot}
              isHere={row.snapshot.id === vm.currentSnapshotId}
            />
          )}
        </li>
      ))}
    </ol>
  );
}

function Lanes(props: {
  readonly row: GraphRow<Snapshot>;
  readonly laneCount: number;
}): React.ReactElement {
  const { row } = props;
  const x = laneX(row.lane);
  return (
    <div className="kd-lanes" style={{ width: props.laneCount * LANE_WIDTH }}>
      <svg width={props.laneCount * LANE_WIDTH} aria-hidden="true">
        {row.passing.map((lane) => (
          <line key={lane} x1={laneX(lane)} x2={laneX(lane)} y1="0" y2="100%" />
        ))}
        {row.joins.map((lane) => (
          <polyline
            key={lane}
            points={`${laneX(lane)},0 ${laneX(lane)},${DOT_Y - 12} ${x},${DOT_Y}`}
          />
        ))}
        {row.continuesUp ? <line x1={x} x2={x} y1="0" y2={DOT_Y} /> : null}
        {row.continuesDown ? <line x1={x} x2={x} y1={DOT_Y} y2="100%" /> : null}
        <circle
          cx={x}
          cy={DOT_Y}
          r="5.5"
          className={row.snapshot === null ? 'kd-dot-now' : `kd-dot-${row.snapshot.state}`}
        />
      </svg>
    </div>
  );
}

function SnapshotRow(props: {
  readonly snapshot: Snapshot;
  readonly isHere: boolean;
}): React.ReactElement {
  const { t, word } = useTexts();
  const format = useFormat();
  const { snapshot } = props;
  const { sizes, pauseMs } = snapshot;
  const quiet = [
    word('kind', snapshot.kind),
    pauseMs === null || snapshot.level === 'offline'
      ? null
      : `${t('field.pause')} ${format.duration(pauseMs)}`,
    sizes === null ? null : `${t('field.stored')} ${format.bytes(sizes.storedBytes)}`,
    snapshot.expiresAt === null ? null : `${t('field.expires')} ${format.time(snapshot.expiresAt)}`,
  ].filter((part) => part !== null);
  return (
    <>
      <div className="kd-timeline-body">
        <div className="kd-inline">
          <Link to="/snapshots/$snapshotId" params={{ snapshotId: snapshot.id }}>
            <strong>{snapshot.name}</strong>
          </Link>
          {snapshot.level === null ? null : (
            <LevelLabel level={snapshot.level} reason={snapshot.levelReason} />
          )}
          {snapshot.state === 'active' ? null : (
            <StateLabel group="snapshot-state" state={snapshot.state} />
          )}
          {snapshot.pinned ? (
            <Label isCompact icon={<LockIcon />}>
              {t('snapshot.pinned')}
            </Label>
          ) : null}
          {snapshot.busyWith === null ? null : (
            <Label isCompact color="blue">
              {t('snapshot.busy', { operation: word('operation', snapshot.busyWith.operation) })}
            </Label>
          )}
        </div>
        <div className="kd-quiet">
          <TimeText at={snapshot.capturedAt ?? snapshot.createdAt} /> · {quiet.join(' · ')}
        </div>
        {snapshot.description === '' ? null : <div>{snapshot.description}</div>}
      </div>
      <SnapshotMenu snapshot={snapshot} />
    </>
  );
}
