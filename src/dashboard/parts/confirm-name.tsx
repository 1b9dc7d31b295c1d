import { FormGroup, TextInput } from '@patternfly/react-core';
import { useTexts } from '../texts/i18n.ts';
import { FieldHelp } from './field-help.tsx';

export function ConfirmName(props: {
  readonly name: string;
  readonly typed: string;
  readonly onType: (text: string) => void;
}): React.ReactElement {
  const { t } = useTexts();
  const { name, typed } = props;
  // Half a name is not a mistake yet.
  const isWrong = typed !== '' && !name.startsWith(typed);
  return (
    <FormGroup label={t('confirm.typeVm', { vm: name })} fieldId="confirm-name" isRequired>
      <TextInput
        id="confirm-name"
        value={typed}
        autoComplete="off"
        spellCheck={false}
        validated={isWrong ? 'error' : typed === name ? 'success' : 'default'}
        onChange={(_, text) => props.onType(text)}
      />
      <FieldHelp error={isWrong ? t('confirm.mismatch', { vm: name }) : undefined} />
    </FormGroup>
  );
}
