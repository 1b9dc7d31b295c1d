import { Button, Form, Modal, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { useId } from 'react';
import { useTexts } from '../texts/i18n.ts';
import { ProblemAlert } from './problem-alert.tsx';

export interface FormDialogProps {
  readonly title: string;
  readonly description?: React.ReactNode;
  readonly submitLabel: string;
  readonly cancelLabel?: string;
  readonly isDanger?: boolean;
  /** Nothing can be sent yet. */
  readonly isIncomplete?: boolean;
  readonly isBusy?: boolean;
  readonly error?: unknown;
  readonly size?: 'small' | 'medium' | 'large';
  /** Between submit and cancel. */
  readonly extraButton?: React.ReactNode;
  readonly onSubmit: () => void;
  readonly onClose: () => void;
  readonly children?: React.ReactNode;
}

export function FormDialog(props: FormDialogProps): React.ReactElement {
  const { t } = useTexts();
  const id = useId();
  const { isBusy = false, isIncomplete = false, error = null } = props;
  return (
    <Modal
      isOpen
      variant={props.size ?? 'small'}
      aria-labelledby={`${id}-title`}
      onEscapePress={props.onClose}
    >
      <ModalHeader title={props.title} labelId={`${id}-title`} description={props.description} />
      <ModalBody tabIndex={0}>
        <Form
          id={`${id}-form`}
          onSubmit={(event) => {
            event.preventDefault();
            if (!isIncomplete && !isBusy) props.onSubmit();
          }}
        >
          {props.children}
          {error === null ? null : <ProblemAlert error={error} />}
        </Form>
      </ModalBody>
      <ModalFooter>
        <Button
          type="submit"
          form={`${id}-form`}
          variant={props.isDanger ? 'danger' : 'primary'}
          isDisabled={isIncomplete || isBusy}
          isLoading={isBusy}
          spinnerAriaValueText={isBusy ? t('common.loading') : undefined}
        >
          {props.submitLabel}
        </Button>
        {props.extraButton}
        <Button variant="link" onClick={props.onClose}>
          {props.cancelLabel ?? t('common.cancel')}
        </Button>
      </ModalFooter>
    </Modal>
  );
}
