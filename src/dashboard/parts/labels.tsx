import { Label, LabelGroup, Tooltip } from '@patternfly/react-core';
import type { LabelProps } from '@patternfly/react-core';
import { labelsOf } from '../logic/vm-filter.ts';
import { useTexts } from '../texts/i18n.ts';

type Look = Pick<LabelProps, 'status' | 'color'>;

const LOOKS: Readonly<Record<string, Look>> = {
  'vm-state.running': { color: 'green' },
  'vm-state.paused': { color: 'yellow' },
  'vm-state.crashed': { status: 'danger' },
  'vm-state.gone': { color: 'grey' },
  'snapshot-state.creating': { color: 'blue' },
  'snapshot-state.active': { color: 'green' },
  'snapshot-state.deleting': { color: 'blue' },
  'snapshot-state.failed': { status: 'danger' },
  'snapshot-state.damaged': { status: 'danger' },
  'request-state.pending': { color: 'purple' },
  'request-state.approved': { color: 'blue' },
  'request-state.executing': { color: 'blue' },
  'request-state.succeeded': { status: 'success' },
  'request-state.failed': { status: 'danger' },
  'request-state.rejected': { status: 'warning' },
  'request-state.expired': { status: 'warning' },
  'job-state.running': { color: 'blue' },
  'job-state.undoing': { status: 'warning' },
  'job-state.succeeded': { status: 'success' },
  'job-state.failed': { status: 'danger' },
  'step-state.running': { color: 'blue' },
  'step-state.done': { color: 'green' },
  'step-state.failed': { status: 'danger' },
  'step-state.undone': { status: 'warning' },
  'host-state.ready': { status: 'success' },
  'host-state.unreachable': { status: 'danger' },
  'host-state.silent': { status: 'danger' },
  'repository-state.ready': { status: 'success' },
  'repository-state.locked': { status: 'warning' },
  'repository-state.unavailable': { status: 'danger' },
  'outcome.intent': { color: 'grey' },
  'outcome.succeeded': { status: 'success' },
  'outcome.failed': { status: 'danger' },
  'outcome.denied': { status: 'warning' },
  'level.memory': { color: 'blue' },
  'level.application': { color: 'teal' },
  'level.crash': { color: 'orange' },
  'level.offline': { color: 'grey' },
};

export type StateGroup =
  | 'vm-state'
  | 'snapshot-state'
  | 'request-state'
  | 'job-state'
  | 'step-state'
  | 'host-state'
  | 'repository-state'
  | 'outcome';

export function StateLabel(props: {
  readonly group: StateGroup;
  readonly state: string;
}): React.ReactElement {
  const { word } = useTexts();
  return (
    <Label isCompact {...LOOKS[`${props.group}.${props.state}`]}>
      {word(props.group, props.state)}
    </Label>
  );
}

/** The consistency level; focus or point to read what it means and why it is so. */
export function LevelLabel(props: {
  readonly level: string;
  readonly reason: string | null;
}): React.ReactElement {
  const { word } = useTexts();
  const meaning = word('level-meaning', props.level);
  return (
    <Tooltip
      content={
        <>
          <p>{meaning}</p>
          {props.reason === null ? null : <p lang="en">{props.reason}</p>}
        </>
      }
    >
      <Label isCompact variant="outline" tabIndex={0} {...LOOKS[`level.${props.level}`]}>
        {word('level', props.level)}
      </Label>
    </Tooltip>
  );
}

export function KeyValueLabels(props: {
  readonly labels: Readonly<Record<string, string>>;
}): React.ReactElement {
  const { t } = useTexts();
  const labels = labelsOf(props.labels);
  if (labels.length === 0) return <span className="kd-quiet">{t('common.none')}</span>;
  return (
    <LabelGroup numLabels={20} aria-label={t('field.labels')}>
      {labels.map((label) => (
        <Label key={label} isCompact variant="outline">
          {label}
        </Label>
      ))}
    </LabelGroup>
  );
}
