import { Link } from '@tanstack/react-router';
import { useItems } from '../api.ts';
import { PageFrame } from '../parts/page-frame.tsx';
import { useTexts } from '../texts/i18n.ts';
import { FailurePanel } from './overview/failure-panel.tsx';
import { PendingPanel } from './overview/pending-panel.tsx';
import { ProtectionPanel } from './overview/protection-panel.tsx';
import { RunningPanel } from './overview/running-panel.tsx';
import { SpacePanel } from './overview/space-panel.tsx';
import { Note } from '../parts/note.tsx';

export function OverviewPage(): React.ReactElement {
  const { t } = useTexts();
  return (
    <PageFrame title={t('overview.title')}>
      <div className="kd-stack">
        <HostsAlert />
        <div className="kd-panels">
          <ProtectionPanel />
          <PendingPanel />
          <RunningPanel />
          <FailurePanel />
          <SpacePanel />
        </div>
      </div>
    </PageFrame>
  );
}

function HostsAlert(): React.ReactElement | null {
  const { t, word } = useTexts();
  const hosts = useItems('hostList', {}, { maxItems: 1000 });
  const notReady = hosts.data?.items.filter((host) => host.state !== 'ready') ?? [];
  if (notReady.length === 0) return null;
  return (
    <Note
      variant="danger"
      level="h2"
      title={t('overview.hostsNotReady', { count: notReady.length })}
      links={<Link to="/hosts">{t('nav.hosts')}</Link>}
    >
      {notReady.slice(0, 5).map((host) => (
        <p key={host.id}>
          {host.name}: {word('host-state', host.state)}
        </p>
      ))}
    </Note>
  );
}
