import { Checkbox, FormGroup, Radio } from '@patternfly/react-core';
import type { Snapshot } from '../../contract/snapshots.ts';
import type { Verdict } from '../../contract/state-predicates.ts';
import type { Vm } from '../../contract/vms.ts';
import { useItems } from '../api.ts';
import { isNewName, parseStart, START_CHOICES } from '../logic/restore-form.ts';
import type { RestoreForm } from '../logic/restore-form.ts';
import { compareDisks, countTakenSince } from '../logic/restore-loss.ts';
import type { DiskDifference } from '../logic/restore-loss.ts';
import { Choice } from '../parts/filters.tsx';
import { TextField } from '../parts/text-fields.tsx';
import { useFormat } from '../parts/use-format.ts';
import { useTexts } from '../texts/i18n.ts';
import { Note } from '../parts/note.tsx';

interface StepProps {
  readonly snapshot: Snapshot;
  readonly form: RestoreForm;
  readonly onChange: (form: RestoreForm) => void;
}

export function HowStep(props: StepProps & { readonly rollBack: Verdict }): React.ReactElement {
  const { t, reason } = useTexts();
  const { snapshot, form, rollBack, onChange } = props;
  const vm = snapshot.vmName;
  return (
    <FormGroup role="radiogroup" label={t('restore.stepHow')} fieldId="mode" isStack>
      <Radio
        id="mode-rollback"
        name="mode"
        label={t('restore.rollBack', { vm })}
        description={rollBack.allowed ? t('restore.rollBackHelp') : reason(rollBack.reason)}
        isDisabled={!rollBack.allowed}
        isChecked={form.mode === 'rollback'}
        onChange={() => onChange({ ...form, mode: 'rollback' })}
      />
      <Radio
        id="mode-new-vm"
        name="mode"
        label={t('restore.newVm')}
        description={t('restore.newVmHelp', { vm })}
        isChecked={form.mode === 'new-vm'}
        onChange={() => onChange({ ...form, mode: 'new-vm' })}
      />
    </FormGroup>
  );
}

export function RollBackStep(
  props: StepProps & { readonly vm: Vm | undefined },
): React.ReactElement {
  const { t } = useTexts();
  const { snapshot, vm, form, onChange } = props;
  return (
    <>
      <Losses snapshot={snapshot} vm={vm} />
      <Checkbox
        id="safety"
        label={t('restore.safety')}
        isChecked={form.safetySnapshot}
        onChange={(_, safetySnapshot) => onChange({ ...form, safetySnapshot })}
      />
      {form.safetySnapshot ? null : <Note variant="danger" title={t('restore.safetyOff')} />}
      <FormGroup label={t('restore.start')} fieldId="start">
        <Choice
          id="start"
          value={form.start}
          options={START_CHOICES.map((value) => ({ value, label: t(`restore.start.${value}`) }))}
          onChange={(value) => onChange({ ...form, start: parseStart(value) })}
        />
      </FormGroup>
    </>
  );
}

function Losses(props: {
  readonly snapshot: Snapshot;
  readonly vm: Vm | undefined;
}): React.ReactElement {
  const { t } = useTexts();
  const format = useFormat();
  const { snapshot, vm } = props;
  const others = useItems(
    'snapshotList',
    { query: { vmId: snapshot.vmId, state: ['active'] } },
    { maxItems: 1000 },
  );
  const since = countTakenSince(snapshot, others.data?.items ?? []);
  const at = snapshot.capturedAt ?? snapshot.createdAt;
  const differences = vm ? compareDisks(snapshot, vm) : [];
  return (
    <>
      <Note
        variant="warning"

        title={t('restore.lostTitle', { vm: snapshot.vmName })}
      >
        <ul className="kd-list">
          <li>
            {t('restore.lostTime', { time: format.time(at), ago: format.ago(at, new Date()) })}
          </li>
          {vm?.state === 'running' || vm?.state === 'paused' ? (
            <li>{t('restore.lostMemory')}</li>
          ) : null}
          {since > 0 ? <li>{t('restore.between', { count: since })}</li> : null}
        </ul>
      </Note>
      <div>
        <strong>{t('restore.differences')}</strong>
        <ul className="kd-list">
          {differences.length === 0 ? <li>{t('restore.noDifferences')}</li> : null}
          {differences.map((difference) => (
            <li key={difference.target}>
              <Difference difference={difference} />
            </li>
          ))}
        </ul>
      </div>
    </>
  );
}

function Difference({ difference }: { readonly difference: DiskDifference }): React.ReactNode {
  const { t } = useTexts();
  const format = useFormat();
  const { target } = difference;
  switch (difference.kind) {
    case 'missing':
      return t('restore.diskMissing', { target });
    case 'returns':
      return t('restore.diskReturns', { target, size: format.bytes(difference.sizeBytes) });
    case 'resized':
      return t('restore.diskResized', {
        target,
        now: format.bytes(difference.nowBytes),
        before: format.bytes(difference.thenBytes),
      });
    default:
      return null;
  }
}

export function NewVmStep({ snapshot, form, onChange }: StepProps): React.ReactElement {
  const { t } = useTexts();
  const hasMemory = snapshot.level === 'memory';
  return (
    <>
      <TextField
        id="new-name"
        isRequired
        label={t('restore.vmName')}
        help={t('restore.vmNameHelp')}
        error={form.newName === '' || isNewName(form.newName) ? undefined : t('restore.vmNameHelp')}
        value={form.newName}
        onChange={(newName) => onChange({ ...form, newName })}
      />
      <Checkbox
        id="links-down"
        label={t('restore.linksDown', { vm: snapshot.vmName })}
        isChecked={form.linksDown}
        onChange={(_, linksDown) => onChange({ ...form, linksDown })}
      />
      <Checkbox
        id="resume-memory"
        label={t('restore.resume')}
        description={hasMemory ? undefined : t('restore.noMemory')}
        isDisabled={!hasMemory}
        isChecked={form.resumeMemory}
        onChange={(_, resumeMemory) => onChange({ ...form, resumeMemory })}
      />
      <Checkbox
        id="start-new"
        label={t('restore.startNew')}
        isChecked={form.startNew || form.resumeMemory}
        isDisabled={form.resumeMemory}
        onChange={(_, startNew) => onChange({ ...form, startNew })}
      />
    </>
  );
}
