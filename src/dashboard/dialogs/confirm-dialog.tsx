import { FormDialog } from '../parts/form-dialog.tsx';
import { useTexts } from '../texts/i18n.ts';

/** One question that names its object. */
export function ConfirmDialog(props: {
  readonly title: string;
  readonly body: string;
  readonly submitLabel: string;
  readonly isDanger?: boolean;
  readonly isBusy: boolean;
  readonly error: unknown;
  readonly onSubmit: () => void;
  readonly onClose: () => void;
}): React.ReactElement {
  const { t } = useTexts();
  return (
    <FormDialog
      title={props.title}
      description={props.body}
      submitLabel={props.submitLabel}
      cancelLabel={t('decide.keep')}
      isDanger={props.isDanger}
      isBusy={props.isBusy}
      error={props.error}
      onSubmit={props.onSubmit}
      onClose={props.onClose}
    />
  );
}
