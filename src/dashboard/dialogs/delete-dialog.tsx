import { useState } from 'react';
import { useAct, useCall } from '../api.ts';
import { ConfirmName } from '../parts/confirm-name.tsx';
import { FormDialog } from '../parts/form-dialog.tsx';
import {
  justificationBody,
  JustificationFields,
  useJustification,
} from '../parts/justification.tsx';
import type { SnapshotDialogProps } from '../parts/snapshot-dialog-props.ts';
import { useFormat } from '../parts/use-format.ts';
import { useRequestSent } from '../parts/use-request-sent.tsx';
import { useTexts } from '../texts/i18n.ts';
import { Note } from '../parts/note.tsx';

export function DeleteDialog({ snapshot, onClose }: SnapshotDialogProps): React.ReactElement {
  const { t } = useTexts();
  const format = useFormat();
  const [typed, setTyped] = useState('');
  const [justification, setJustification] = useJustification();
  const vm = useCall('vmGet', { params: { id: snapshot.vmId } });
  const act = useAct('snapshotDelete');
  const announce = useRequestSent();
  const time = format.time(snapshot.capturedAt ?? snapshot.createdAt);
  return (
    <FormDialog
      isDanger
      title={t('delete.title', { snapshot: snapshot.name })}
      description={t('delete.body', { vm: snapshot.vmName, time })}
      submitLabel={t('delete.submit')}
      isIncomplete={typed !== snapshot.vmName}
      isBusy={act.isPending}
      error={act.error}
      onClose={onClose}
      onSubmit={() =>
        act.mutate(
          {
            args: {
              params: { id: snapshot.id },
              body: { confirmVmName: typed, ...justificationBody(justification) },
            },
          },
          {
            onSuccess: (request) => {
              announce(request);
              onClose();
            },
          },
        )
      }
    >
      {vm.data?.currentSnapshotId === snapshot.id ? (
        <Note variant="warning" title={t('delete.here')} />
      ) : null}
      <JustificationFields value={justification} onChange={setJustification} />
      <ConfirmName name={snapshot.vmName} typed={typed} onType={setTyped} />
    </FormDialog>
  );
}
