import { Link } from '@tanstack/react-router';
import { useItems } from '../../api.ts';
import { JobProgress } from '../../parts/job-progress.tsx';
import { Loaded } from '../../parts/loaded.tsx';
import { Panel } from '../../parts/panel.tsx';
import { RequestTitle } from '../../parts/request-title.tsx';
import { useTexts } from '../../texts/i18n.ts';

const SHOWN = 6;
const EVERY_MS = 15_000;

export function RunningPanel(): React.ReactElement {
  const { t } = useTexts();
  const jobs = useItems(
    'jobList',
    { query: { state: ['queued', 'running', 'undoing'] } },
    { maxItems: 100, everyMs: EVERY_MS },
  );
  return (
    <Panel title={t('overview.running')} actions={<Link to="/jobs">{t('overview.showAll')}</Link>}>
      <Loaded query={jobs}>
        {({ items }) =>
          items.length === 0 ? (
            <p className="kd-quiet">{t('overview.nothingRunning')}</p>
          ) : (
            <div className="kd-stack">
              {items.slice(0, SHOWN).map((job) => (
                <div key={job.id}>
                  <Link to="/jobs/$jobId" params={{ jobId: job.id }}>
                    <RequestTitle request={{ ...job, operation: job.kind }} />
                  </Link>
                  <JobProgress job={job} />
                </div>
              ))}
            </div>
          )
        }
      </Loaded>
    </Panel>
  );
}
