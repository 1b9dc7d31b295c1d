import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
} from '@tanstack/react-router';
import { NotFoundPage } from './shell/not-found-page.tsx';
import { PageCrash } from './shell/page-crash.tsx';
import { Shell } from './shell/shell.tsx';

const root = createRootRoute({ component: Shell, notFoundComponent: NotFoundPage });
const getParentRoute = () => root;

/** Filters live in the address, so that a view can be kept and sent. */
function pickTexts<Name extends string>(
  search: Record<string, unknown>,
  ...names: readonly Name[]
): { [Key in Name]?: string } {
  const picked: { [Key in Name]?: string } = {};
  for (const name of names) {
    const value = search[name];
    if (typeof value === 'string' && value !== '') picked[name] = value.slice(0, 256);
  }
  return picked;
}

interface VmSearch {
  search?: string;
  state?: string;
  label?: string;
  gone?: true;
}

const pages = [
  createRoute({
    getParentRoute,
    path: '/',
    component: lazyRouteComponent(() => import('./pages/overview-page.tsx'), 'OverviewPage'),
  }),
  createRoute({
    getParentRoute,
    path: '/vms',
    validateSearch: (search: Record<string, unknown>): VmSearch => ({
      ...pickTexts(search, 'search', 'state', 'label'),
      ...(search['gone'] === true ? { gone: true } : {}),
    }),
    component: lazyRouteComponent(() => import('./pages/vms-page.tsx'), 'VmsPage'),
  }),
  createRoute({
    getParentRoute,
    path: '/vms/$vmId',
    component: lazyRouteComponent(() => import('./pages/vm-page.tsx'), 'VmPage'),
  }),
  createRoute({
    getParentRoute,
    path: '/snapshots',
    validateSearch: (search: Record<string, unknown>) =>
      pickTexts(search, 'search', 'state', 'level'),
    component: lazyRouteComponent(() => import('./pages/snapshots-page.tsx'), 'SnapshotsPage'),
  }),
  createRoute({
    getParentRoute,
    path: '/snapshots/$snapshotId',
    component: lazyRouteComponent(() => import('./pages/snapshot-page.tsx'), 'SnapshotPage'),
  }),
  createRoute({
    getParentRoute,
    path: '/requests',
    validateSearch: (search: Record<string, unknown>) => pickTexts(search, 'show'),
    component: lazyRouteComponent(() => import('./pages/requests-page.tsx'), 'RequestsPage'),
  }),
  createRoute({
    getParentRoute,
    path: '/requests/$requestId',
    component: lazyRouteComponent(() => import('./pages/request-page.tsx'), 'RequestPage'),
  }),
  createRoute({
    getParentRoute,
    path: '/jobs',
    validateSearch: (search: Record<string, unknown>) => pickTexts(search, 'show'),
    component: lazyRouteComponent(() => import('./pages/jobs-page.tsx'), 'JobsPage'),
  }),
  createRoute({
    getParentRoute,
    path: '/jobs/$jobId',
    component: lazyRouteComponent(() => import('./pages/job-page.tsx'), 'JobPage'),
  }),
  createRoute({
    getParentRoute,
    path: '/hosts',
    component: lazyRouteComponent(() => import('./pages/hosts-page.tsx'), 'HostsPage'),
  }),
  createRoute({
    getParentRoute,
    path: '/repositories',
    component: lazyRouteComponent(
      () => import('./pages/repositories-page.tsx'),
      'RepositoriesPage',
    ),
  }),
  createRoute({
    getParentRoute,
    path: '/audit',
    validateSearch: (search: Record<string, unknown>) => pickTexts(search, 'action', 'outcome'),
    component: lazyRouteComponent(() => import('./pages/audit-page.tsx'), 'AuditPage'),
  }),
  createRoute({
    getParentRoute,
    path: '/account',
    component: lazyRouteComponent(() => import('./pages/account-page.tsx'), 'AccountPage'),
  }),
] as const;

export const createAppRouter = () =>
  createRouter({
    routeTree: root.addChildren(pages),
    defaultPreload: 'intent',
    defaultErrorComponent: PageCrash,
    scrollRestoration: true,
  });

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof createAppRouter>;
  }
}
