import { Button } from '@patternfly/react-core';
import { useState } from 'react';
import { snapshotCan } from '../../contract/state-predicates.ts';
import { useAct, useCall } from '../api.ts';
import { emptyRestoreForm, isNewName, restoreBody } from '../logic/restore-form.ts';
import type { RestoreForm } from '../logic/restore-form.ts';
import { ConfirmName } from '../parts/confirm-name.tsx';
import { FormDialog } from '../parts/form-dialog.tsx';
import { JustificationFields } from '../parts/justification.tsx';
import type { SnapshotDialogProps } from '../parts/snapshot-dialog-props.ts';
import { useFormat } from '../parts/use-format.ts';
import { useRequestSent } from '../parts/use-request-sent.tsx';
import { useTexts } from '../texts/i18n.ts';
import { HowStep, NewVmStep, RollBackStep } from './restore-steps.tsx';

const STEP_COUNT = 3;

/** Three steps: how, what it means, confirm. */
export function RestoreDialog({ snapshot, onClose }: SnapshotDialogProps): React.ReactElement {
  const { t } = useTexts();
  const [step, setStep] = useState(0);
  const [chosen, setForm] = useState<RestoreForm>(emptyRestoreForm('rollback'));
  // A VM that is gone is no error here: its snapshots can become new ones.
  const vm = useCall('vmGet', { params: { id: snapshot.vmId } });
  const rollBack = snapshotCan.rollBack(snapshot, vm.data ?? null);
  const form: RestoreForm =
    vm.isPending || rollBack.allowed ? chosen : { ...chosen, mode: 'new-vm' };
  const act = useAct('snapshotRestore');
  const announce = useRequestSent();
  const isRollBack = form.mode === 'rollback';
  const isLast = step === STEP_COUNT - 1;
  const names = [
    t('restore.stepHow'),
    t(isRollBack ? 'restore.stepLost' : 'restore.stepOptions'),
    t('restore.stepConfirm'),
  ];
  const isComplete = isRollBack
    ? !isLast || form.confirmVmName === snapshot.vmName
    : step === 0 || isNewName(form.newName);
  const send = (): void =>
    act.mutate(
      { args: { params: { id: snapshot.id }, body: restoreBody(form) } },
      {
        onSuccess: (request) => {
          announce(request);
          onClose();
        },
      },
    );
  return (
    <FormDialog
      size="medium"
      isDanger={isRollBack && isLast}
      title={t('restore.title', { vm: snapshot.vmName, snapshot: snapshot.name })}
      description={t('restore.step', {
        number: step + 1,
        total: STEP_COUNT,
        name: names[step] ?? '',
      })}
      submitLabel={
        isLast ? t(isRollBack ? 'restore.submitRollBack' : 'restore.submitNewVm') : t('common.next')
      }
      extraButton={
        step === 0 ? null : (
          <Button variant="secondary" onClick={() => setStep(step - 1)}>
            {t('common.back')}
          </Button>
        )
      }
      isIncomplete={vm.isPending || !isComplete}
      isBusy={act.isPending}
      error={act.error}
      onSubmit={() => (isLast ? send() : setStep(step + 1))}
      onClose={onClose}
    >
      {step === 0 ? (
        <HowStep snapshot={snapshot} form={form} rollBack={rollBack} onChange={setForm} />
      ) : null}
      {step === 1 && isRollBack ? (
        <RollBackStep snapshot={snapshot} vm={vm.data} form={form} onChange={setForm} />
      ) : null}
      {step === 1 && !isRollBack ? (
        <NewVmStep snapshot={snapshot} form={form} onChange={setForm} />
      ) : null}
      {isLast ? <ConfirmStep snapshot={snapshot} form={form} onChange={setForm} /> : null}
    </FormDialog>
  );
}

function ConfirmStep(props: {
  readonly snapshot: SnapshotDialogProps['snapshot'];
  readonly form: RestoreForm;
  readonly onChange: (form: RestoreForm) => void;
}): React.ReactElement {
  const { t } = useTexts();
  const format = useFormat();
  const { snapshot, form, onChange } = props;
  const isRollBack = form.mode === 'rollback';
  const time = format.time(snapshot.capturedAt ?? snapshot.createdAt);
  const values = { vm: snapshot.vmName, snapshot: snapshot.name, name: form.newName, time };
  return (
    <>
      <p>{t(isRollBack ? 'restore.summaryRollBack' : 'restore.summaryNewVm', values)}</p>
      {isRollBack ? <p>{t(form.safetySnapshot ? 'plan.safety' : 'restore.safetyOff')}</p> : null}
      <JustificationFields
        value={form}
        onChange={(justification) => onChange({ ...form, ...justification })}
      />
      {isRollBack ? (
        <ConfirmName
          name={snapshot.vmName}
          typed={form.confirmVmName}
          onType={(confirmVmName) => onChange({ ...form, confirmVmName })}
        />
      ) : null}
    </>
  );
}
