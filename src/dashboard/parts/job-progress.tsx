import { Progress } from '@patternfly/react-core';
import type { Job } from '../../contract/jobs.ts';
import { useTexts } from '../texts/i18n.ts';
import { useFormat } from './use-format.ts';

/** How far a job is, how fast, and how long it will take. */
export function JobProgress(props: {
  readonly job: Pick<Job, 'id' | 'kind' | 'vm' | 'progress' | 'steps' | 'state'>;
}): React.ReactElement | null {
  const { t, word } = useTexts();
  const format = useFormat();
  const { job } = props;
  const { progress } = job;
  if (progress === null) {
    const step = job.steps.find((one) => one.state === 'running');
    return step ? <span className="kd-quiet">{word('step', step.name)}</span> : null;
  }
  const share = progress.totalBytes === 0 ? 0 : progress.doneBytes / progress.totalBytes;
  const parts = [
    progress.totalBytes === 0
      ? format.bytes(progress.doneBytes)
      : t('common.ofTotal', {
          done: format.bytes(progress.doneBytes),
          total: format.bytes(progress.totalBytes),
        }),
    progress.ratePerSecond === null
      ? null
      : t('common.perSecond', { rate: format.bytes(progress.ratePerSecond) }),
    progress.secondsLeft === null || job.state !== 'running'
      ? null
      : t('common.left', { time: format.duration(progress.secondsLeft * 1000) }),
  ];
  return (
    <Progress
      id={`progress-${job.id}`}
      className="kd-progress"
      size="sm"
      measureLocation="outside"
      value={Math.min(100, Math.floor(share * 100))}
      label={format.percent(Math.min(1, Math.floor(share * 100) / 100))}
      title={word('step', progress.phase)}
      variant={job.state === 'failed' ? 'danger' : undefined}
      aria-label={t('job.progressOf', {
        name: `${word('operation', job.kind)} ${job.vm?.name ?? ''}`,
      })}
      helperText={parts.filter((part) => part !== null).join(' · ')}
    />
  );
}
