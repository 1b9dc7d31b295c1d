import { Badge, Nav, NavItem, NavList } from '@patternfly/react-core';
import { Link, useRouterState } from '@tanstack/react-router';
import { useItems } from '../api.ts';
import { useTexts } from '../texts/i18n.ts';
import type { TextKey } from '../texts/catalog.ts';

const ITEMS = [
  ['/', 'nav.overview'],
  ['/vms', 'nav.vms'],
  ['/snapshots', 'nav.snapshots'],
  ['/requests', 'nav.requests'],
  ['/jobs', 'nav.jobs'],
  ['/hosts', 'nav.hosts'],
  ['/repositories', 'nav.repositories'],
  ['/audit', 'nav.audit'],
  ['/account', 'nav.account'],
] as const satisfies readonly (readonly [string, TextKey])[];

export function MainNavigation({
  onChosen,
}: {
  readonly onChosen: () => void;
}): React.ReactElement {
  const { t } = useTexts();
  const path = useRouterState({ select: (state) => state.location.pathname });
  return (
    <Nav aria-label={t('nav.label')} onSelect={onChosen}>
      <NavList>
        {ITEMS.map(([to, key]) => {
          const isActive = to === '/' ? path === '/' : path.startsWith(to);
          return (
            <NavItem key={to} itemId={to} isActive={isActive}>
              <Link to={to} aria-current={isActive ? 'page' : undefined}>
                <span className="kd-nav-text">{t(key)}</span>
                {to === '/requests' ? <WaitingCount /> : null}
              </Link>
            </NavItem>
          );
        })}
      </NavList>
    </Nav>
  );
}

function WaitingCount(): React.ReactElement | null {
  const { t } = useTexts();
  const pending = useItems('requestList', { query: { state: ['pending'] } }, { maxItems: 100 });
  const count = pending.data?.items.length ?? 0;
  if (count === 0) return null;
  const text = pending.data?.hasMore ? `${count}+` : String(count);
  return <Badge screenReaderText={t('nav.waiting', { count })}>{text}</Badge>;
}
