import { getRouteApi, Link } from '@tanstack/react-router';
import { useState } from 'react';
import type { Job, JobState } from '../../contract/jobs.ts';
import { useItems } from '../api.ts';
import { LIST_STEP } from '../limits.ts';
import { DataTable } from '../parts/data-table.tsx';
import { Empty } from '../parts/empty.tsx';
import { Switcher } from '../parts/filters.tsx';
import { JobProgress } from '../parts/job-progress.tsx';
import { StateLabel } from '../parts/labels.tsx';
import { Loaded } from '../parts/loaded.tsx';
import { MoreButton } from '../parts/more-button.tsx';
import { PageFrame } from '../parts/page-frame.tsx';
import { RequestTitle } from '../parts/request-title.tsx';
import { TimeText } from '../parts/time-text.tsx';
import { useTexts } from '../texts/i18n.ts';

const route = getRouteApi('/jobs');
const EVERY_MS = 15_000;

const STATES = {
  active: ['queued', 'running', 'undoing'],
  over: ['succeeded', 'failed', 'cancelled'],
} as const satisfies Record<string, readonly JobState[]>;

type Group = keyof typeof STATES;
const GROUPS: readonly Group[] = ['active', 'over'];

export function JobsPage(): React.ReactElement {
  const { t } = useTexts();
  const { show } = route.useSearch();
  const navigate = route.useNavigate();
  const group = GROUPS.find((name) => name === show) ?? 'active';
  return (
    <PageFrame
      title={t('jobs.title')}
      actions={
        <Switcher
          label={t('jobs.which')}
          value={group}
          options={GROUPS.map((value) => ({ value, label: t(`jobs.${value}`) }))}
          onChange={(value) => void navigate({ search: { show: value } })}
        />
      }
    >
      <JobList key={group} group={group} />
    </PageFrame>
  );
}

function JobList({ group }: { readonly group: Group }): React.ReactElement {
  const { t } = useTexts();
  const [count, setCount] = useState(LIST_STEP);
  const isActive = group === 'active';
  const jobs = useItems(
    'jobList',
    { query: { state: [...STATES[group]] } },
    { maxItems: count, ...(isActive ? { everyMs: EVERY_MS } : {}) },
  );
  return (
    <Loaded query={jobs}>
      {({ items, hasMore }) =>
        items.length === 0 ? (
          <Empty title={t(isActive ? 'jobs.empty' : 'jobs.emptyOver')} body={t('jobs.emptyBody')} />
        ) : (
          <>
            <JobTable jobs={items} isActive={isActive} />
            <MoreButton
              count={items.length}
              hasMore={hasMore}
              isBusy={jobs.isFetching}
              onMore={() => setCount(count + LIST_STEP)}
            />
          </>
        )
      }
    </Loaded>
  );
}

function JobTable(props: {
  readonly jobs: readonly Job[];
  readonly isActive: boolean;
}): React.ReactElement {
  const { t } = useTexts();
  return (
    <DataTable
      label={t('jobs.title')}
      items={props.jobs}
      keyOf={(job) => job.id}
      columns={[
        {
          title: t('field.job'),
          cell: (job) => (
            <Link to="/jobs/$jobId" params={{ jobId: job.id }}>
              <RequestTitle request={{ ...job, operation: job.kind }} />
            </Link>
          ),
        },
        {
          title: t('field.state'),
          cell: (job) => <StateLabel group="job-state" state={job.state} />,
        },
        props.isActive
          ? { title: t('field.progress'), cell: (job) => <JobProgress job={job} /> }
          : {
              title: t('field.finished'),
              cell: (job) => <TimeText at={job.finishedAt} relative />,
            },
        {
          title: t('field.started'),
          cell: (job) => <TimeText at={job.startedAt} relative />,
        },
      ]}
    />
  );
}
