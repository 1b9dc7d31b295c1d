import { Progress } from '@patternfly/react-core';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import type { Vm } from '../../../contract/vms.ts';
import { useItems } from '../../api.ts';
import { VMS_MAX } from '../../limits.ts';
import { judgeProtection } from '../../logic/protection.ts';
import { Switcher } from '../../parts/filters.tsx';
import { Loaded } from '../../parts/loaded.tsx';
import { Panel } from '../../parts/panel.tsx';
import { TimeText } from '../../parts/time-text.tsx';
import { useNow } from '../../parts/use-format.ts';
import { useTexts } from '../../texts/i18n.ts';

const RECENT_HOURS = [24, 168, 720] as const;
const SHOWN = 8;

export function ProtectionPanel(): React.ReactElement {
  const { t } = useTexts();
  const [hours, setHours] = useState('168');
  const vms = useItems('vmList', { query: { limit: 500 } }, { maxItems: VMS_MAX });
  return (
    <Panel
      className="kd-panel-tall"
      title={t('overview.unprotected')}
      actions={
        <Switcher
          label={t('overview.recent')}
          value={hours}
          options={RECENT_HOURS.map((value) => ({
            value: String(value),
            label: t(`overview.recent.${value}`),
          }))}
          onChange={setHours}
        />
      }
    >
      <Loaded query={vms}>
        {(page) => <Unprotected vms={page.items} hours={Number(hours)} />}
      </Loaded>
    </Panel>
  );
}

function Unprotected(props: {
  readonly vms: readonly Vm[];
  readonly hours: number;
}): React.ReactElement {
  const { t } = useTexts();
  const protection = judgeProtection(props.vms, props.hours, useNow());
  const { total, protectedCount, unprotected } = protection;
  if (total === 0) return <p>{t('overview.noVms')}</p>;
  return (
    <div className="kd-stack">
      <Progress
        id="protection"
        size="sm"
        title={t('overview.protectedOf', { done: protectedCount, total })}
        value={Math.round((protectedCount / total) * 100)}
        measureLocation="outside"
        variant={unprotected.length === 0 ? 'success' : 'warning'}
        aria-label={t('overview.unprotected')}
      />
      {unprotected.length === 0 ? <p>{t('overview.allProtected')}</p> : null}
      <ul className="kd-rows">
        {unprotected.slice(0, SHOWN).map((vm) => (
          <li key={vm.id}>
            <Link to="/vms/$vmId" params={{ vmId: vm.id }}>
              {vm.name}
            </Link>
            <span className="kd-quiet">{vm.host.name}</span>
            <TimeText at={vm.lastSnapshotAt} relative none={t('overview.neverCaptured')} />
          </li>
        ))}
      </ul>
      {unprotected.length > SHOWN ? (
        <Link to="/vms">{t('overview.moreVms', { count: unprotected.length - SHOWN })}</Link>
      ) : null}
    </div>
  );
}
