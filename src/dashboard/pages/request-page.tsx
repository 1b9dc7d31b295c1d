import { Label } from '@patternfly/react-core';
import { getRouteApi, Link } from '@tanstack/react-router';
import type { Request } from '../../contract/requests.ts';
import { useCall } from '../api.ts';
import { DecisionList } from '../parts/decision-list.tsx';
import { Facts } from '../parts/facts.tsx';
import type { Fact } from '../parts/facts.tsx';
import { JobProgress } from '../parts/job-progress.tsx';
import { StateLabel } from '../parts/labels.tsx';
import { Loaded } from '../parts/loaded.tsx';
import { PageFrame } from '../parts/page-frame.tsx';
import { Panel } from '../parts/panel.tsx';
import { PlanView } from '../parts/plan-view.tsx';
import { FailureAlert } from '../parts/problem-alert.tsx';
import { RequestDecisions } from '../parts/request-decisions.tsx';
import { RequestParameters, RequestResult } from '../parts/request-parameters.tsx';
import { useRequestTitle } from '../parts/request-title.tsx';
import { TimeText } from '../parts/time-text.tsx';
import { useTexts } from '../texts/i18n.ts';

const route = getRouteApi('/requests/$requestId');

export function RequestPage(): React.ReactElement {
  const { t } = useTexts();
  const { requestId } = route.useParams();
  const titleOf = useRequestTitle();
  const request = useCall('requestGet', { params: { id: requestId } });
  const { data } = request;
  return (
    <PageFrame
      title={data ? titleOf(data) : t('field.request')}
      above={<Link to="/requests">{t('requests.title')}</Link>}
      badges={
        data ? (
          <>
            <StateLabel group="request-state" state={data.state} />
            {data.emergency ? (
              <Label isCompact color="red">
                {t('request.emergency')}
              </Label>
            ) : null}
          </>
        ) : null
      }
      actions={data ? <RequestDecisions request={data} /> : null}
    >
      <Loaded query={request}>{(loaded) => <RequestContent request={loaded} />}</Loaded>
    </PageFrame>
  );
}

function RequestContent({ request }: { readonly request: Request }): React.ReactElement {
  const { t } = useTexts();
  return (
    <div className="kd-stack">
      {request.failure === null ? null : (
        <FailureAlert title={t('request.failed')} failure={request.failure} />
      )}
      {request.jobId === null ? null : <JobPanel jobId={request.jobId} />}
      <div className="kd-main-and-side">
        <div className="kd-stack">
          <Panel title={t('request.plan')}>
            {request.plan === null ? (
              <p className="kd-quiet">{t('plan.none')}</p>
            ) : (
              <PlanView plan={request.plan} />
            )}
          </Panel>
          <Panel title={t('request.decisions')}>
            <DecisionList decisions={request.decisions} />
          </Panel>
        </div>
        <div className="kd-stack">
          <Panel title={t('field.request')}>
            <RequestFacts request={request} />
          </Panel>
          <Panel title={t('request.asked')}>
            <RequestParameters parameters={request.parameters} />
          </Panel>
          {request.result === null ? null : (
            <Panel title={t('field.result')}>
              <RequestResult result={request.result} />
            </Panel>
          )}
        </div>
      </div>
    </div>
  );
}

function JobPanel({ jobId }: { readonly jobId: string }): React.ReactElement {
  const { t } = useTexts();
  const job = useCall('jobGet', { params: { id: jobId } });
  return (
    <Panel
      title={t('field.job')}
      actions={
        <Link to="/jobs/$jobId" params={{ jobId }}>
          {t('notice.show')}
        </Link>
      }
    >
      <Loaded query={job}>
        {(data) => (
          <div className="kd-stack-tight">
            <div>
              <StateLabel group="job-state" state={data.state} />
            </div>
            <JobProgress job={data} />
          </div>
        )}
      </Loaded>
    </Panel>
  );
}

function RequestFacts({ request }: { readonly request: Request }): React.ReactElement {
  const { t } = useTexts();
  const { vm, snapshot, decidedBy } = request;
  const facts: (Fact | null)[] = [
    vm === null
      ? null
      : [
          t('field.vm'),
          <Link to="/vms/$vmId" params={{ vmId: vm.id }}>
            {vm.name}
          </Link>,
        ],
    snapshot === null
      ? null
      : [
          t('field.snapshot'),
          <Link to="/snapshots/$snapshotId" params={{ snapshotId: snapshot.id }}>
            {snapshot.name}
          </Link>,
        ],
    [t('field.requestedBy'), request.requestedBy.name],
    [t('field.requested'), <TimeText at={request.createdAt} />],
    [t('field.reason'), request.reason ?? t('common.none')],
    request.reference === null ? null : [t('field.reference'), request.reference],
    [
      t('field.approvals'),
      t('request.approvalsOf', {
        given: request.approvalsGiven,
        needed: request.approvalsNeeded,
      }),
    ],
    [t('request.rule'), request.confirmation.rule?.name ?? t('request.noRule')],
    request.approvalExpiresAt === null
      ? null
      : [t('request.beginsBy'), <TimeText at={request.approvalExpiresAt} relative />],
    request.expiresAt === null
      ? null
      : [t('field.expires'), <TimeText at={request.expiresAt} relative />],
    decidedBy === null
      ? null
      : [
          t('field.decided'),
          <>
            {decidedBy.name}, <TimeText at={request.decidedAt} />
          </>,
        ],
    request.decisionComment === null || request.decisionComment === ''
      ? null
      : [t('field.comment'), request.decisionComment],
    request.finishedAt === null
      ? null
      : [t('field.finished'), <TimeText at={request.finishedAt} />],
  ];
  return <Facts facts={facts} />;
}
