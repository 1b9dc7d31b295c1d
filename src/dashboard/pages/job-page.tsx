import { getRouteApi, Link } from '@tanstack/react-router';
import { lazy, Suspense, useState } from 'react';
import type { Job, JobStep } from '../../contract/jobs.ts';
import { jobCan, jobIsOver } from '../../contract/state-predicates.ts';
import { useAct, useCall } from '../api.ts';
import { ConfirmDialog } from '../dialogs/confirm-dialog.tsx';
import { DataTable } from '../parts/data-table.tsx';
import { Facts } from '../parts/facts.tsx';
import type { Fact } from '../parts/facts.tsx';
import { JobProgress } from '../parts/job-progress.tsx';
import { StateLabel } from '../parts/labels.tsx';
import { Loaded } from '../parts/loaded.tsx';
import { useNotice } from '../parts/notices.tsx';
import { PageFrame } from '../parts/page-frame.tsx';
import { Panel } from '../parts/panel.tsx';
import { PermissionButton } from '../parts/permission.tsx';
import { FailureAlert } from '../parts/problem-alert.tsx';
import { useRequestTitle } from '../parts/request-title.tsx';
import { TimeText } from '../parts/time-text.tsx';
import { useFormat } from '../parts/use-format.ts';
import { useTexts } from '../texts/i18n.ts';

const route = getRouteApi('/jobs/$jobId');
const EVERY_MS = 10_000;
const RateChart = lazy(async () => ({
  default: (await import('../parts/rate-chart.tsx')).RateChart,
}));

export function JobPage(): React.ReactElement {
  const { t } = useTexts();
  const { jobId } = route.useParams();
  const titleOf = useRequestTitle();
  const job = useCall('jobGet', { params: { id: jobId } }, { everyMs: EVERY_MS });
  const { data } = job;
  return (
    <PageFrame
      title={data ? titleOf({ ...data, operation: data.kind }) : t('field.job')}
      above={<Link to="/jobs">{t('jobs.title')}</Link>}
      badges={data ? <StateLabel group="job-state" state={data.state} /> : null}
      actions={data && !jobIsOver(data.state) ? <CancelJob job={data} /> : null}
    >
      <Loaded query={job}>{(loaded) => <JobContent job={loaded} />}</Loaded>
    </PageFrame>
  );
}

function JobContent({ job }: { readonly job: Job }): React.ReactElement {
  const { t } = useTexts();
  const isUndone = job.steps.some((step) => step.state === 'undone');
  return (
    <div className="kd-stack">
      {job.failure === null ? null : (
        <FailureAlert title={t('job.failed')} failure={job.failure}>
          {isUndone ? <p>{t('job.undone')}</p> : null}
        </FailureAlert>
      )}
      {jobIsOver(job.state) ? null : (
        <Panel title={t('field.progress')}>
          <JobProgress job={job} />
          {job.progress === null ? null : (
            <Suspense fallback={null}>
              <RateChart key={job.id} progress={job.progress} />
            </Suspense>
          )}
        </Panel>
      )}
      <div className="kd-main-and-side">
        <Panel title={t('job.steps')}>
          <Steps steps={job.steps} />
        </Panel>
        <Panel title={t('field.job')}>
          <JobFacts job={job} />
        </Panel>
      </div>
    </div>
  );
}

function JobFacts({ job }: { readonly job: Job }): React.ReactElement {
  const { t, word } = useTexts();
  const facts: (Fact | null)[] = [
    [t('field.operation'), word('operation', job.kind)],
    job.vm === null
      ? null
      : [
          t('field.vm'),
          <Link to="/vms/$vmId" params={{ vmId: job.vm.id }}>
            {job.vm.name}
          </Link>,
        ],
    job.snapshot === null
      ? null
      : [
          t('field.snapshot'),
          <Link to="/snapshots/$snapshotId" params={{ snapshotId: job.snapshot.id }}>
            {job.snapshot.name}
          </Link>,
        ],
    [
      t('field.request'),
      <Link to="/requests/$requestId" params={{ requestId: job.requestId }}>
        {t('notice.show')}
      </Link>,
    ],
    [t('field.created'), <TimeText at={job.createdAt} />],
    [t('field.started'), <TimeText at={job.startedAt} none={t('common.notYet')} />],
    [t('field.finished'), <TimeText at={job.finishedAt} none={t('common.notYet')} />],
    [t('field.attempts'), String(job.attempts)],
  ];
  return <Facts facts={facts} />;
}

function Steps({ steps }: { readonly steps: readonly JobStep[] }): React.ReactElement {
  const { t, word } = useTexts();
  const format = useFormat();
  return (
    <DataTable
      label={t('job.steps')}
      items={steps}
      keyOf={(step) => step.name}
      columns={[
        { title: t('field.step'), cell: (step) => word('step', step.name) },
        {
          title: t('field.state'),
          cell: (step) => (
            <>
              <StateLabel group="step-state" state={step.state} />
              {step.error === null ? null : <p lang="en">{step.error.message}</p>}
            </>
          ),
        },
        {
          title: t('field.took'),
          isNumber: true,
          cell: (step) =>
            step.startedAt === null || step.finishedAt === null
              ? null
              : format.duration(
                  new Date(step.finishedAt).getTime() - new Date(step.startedAt).getTime(),
                ),
        },
      ]}
    />
  );
}

function CancelJob({ job }: { readonly job: Job }): React.ReactElement {
  const { t } = useTexts();
  const [isOpen, setOpen] = useState(false);
  const act = useAct('jobCancel');
  const say = useNotice();
  return (
    <>
      <PermissionButton
        variant="danger"
        permission={jobCan.cancel(job)}
        onClick={() => setOpen(true)}
      >
        {t('job.cancel')}
      </PermissionButton>
      {isOpen ? (
        <ConfirmDialog
          isDanger
          title={t('jobCancel.title')}
          body={t('jobCancel.body')}
          submitLabel={t('jobCancel.submit')}
          isBusy={act.isPending}
          error={act.error}
          onClose={() => setOpen(false)}
          onSubmit={() =>
            act.mutate(
              { args: { params: { id: job.id } } },
              {
                onSuccess: () => {
                  say({ text: t('notice.jobCancelled') });
                  setOpen(false);
                },
              },
            )
          }
        />
      ) : null}
    </>
  );
}
