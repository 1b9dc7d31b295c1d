import { useState } from 'react';
import { useTexts } from '../texts/i18n.ts';
import { LinesField, TextField } from './text-fields.tsx';

export interface Justification {
  readonly reason: string;
  readonly reference: string;
}

export const useJustification = () => useState<Justification>({ reason: '', reference: '' });

/** Absent rather than empty: an empty reason is none. */
export const justificationBody = (
  justification: Justification,
): { reason?: string; reference?: string } => ({
  ...(justification.reason.trim() === '' ? {} : { reason: justification.reason.trim() }),
  ...(justification.reference.trim() === '' ? {} : { reference: justification.reference.trim() }),
});

export function JustificationFields(props: {
  readonly value: Justification;
  readonly onChange: (value: Justification) => void;
}): React.ReactElement {
  const { t } = useTexts();
  const { value, onChange } = props;
  return (
    <>
      <LinesField
        id="reason"
        label={t('common.optional', { label: t('field.reason') })}
        help={t('create.reasonHelp')}
        value={value.reason}
        onChange={(reason) => onChange({ ...value, reason })}
      />
      <TextField
        id="reference"
        label={t('common.optional', { label: t('field.reference') })}
        help={t('create.referenceHelp')}
        value={value.reference}
        onChange={(reference) => onChange({ ...value, reference })}
      />
    </>
  );
}
