import { useAct } from '../api.ts';
import { FormDialog } from '../parts/form-dialog.tsx';
import type { SnapshotDialogProps } from '../parts/snapshot-dialog-props.ts';
import { useFormat } from '../parts/use-format.ts';
import { useRequestSent } from '../parts/use-request-sent.tsx';
import { useTexts } from '../texts/i18n.ts';

export function VerifyDialog({ snapshot, onClose }: SnapshotDialogProps): React.ReactElement {
  const { t } = useTexts();
  const format = useFormat();
  const act = useAct('snapshotVerify');
  const announce = useRequestSent();
  return (
    <FormDialog
      title={t('verify.title', { snapshot: snapshot.name })}
      description={t('verify.body', { size: format.bytes(snapshot.sizes?.readBytes ?? 0) })}
      submitLabel={t('verify.submit')}
      isBusy={act.isPending}
      error={act.error}
      onClose={onClose}
      onSubmit={() =>
        act.mutate(
          { args: { params: { id: snapshot.id }, body: {} } },
          {
            onSuccess: (request) => {
              announce(request);
              onClose();
            },
          },
        )
      }
    />
  );
}
