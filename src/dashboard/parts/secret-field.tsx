import { FormGroup, TextInput } from '@patternfly/react-core';
import { FieldHelp } from './field-help.tsx';

/** What nobody should read over a shoulder, with the hint that password managers go by. */
export function SecretField(props: {
  readonly id: string;
  readonly label: string;
  readonly value: string;
  readonly onChange: (value: string) => void;
  readonly autoComplete: 'current-password' | 'new-password' | 'one-time-code' | 'off';
  readonly help?: React.ReactNode;
  readonly error?: string | undefined;
  readonly isOptional?: boolean;
  readonly autoFocus?: boolean;
}): React.ReactElement {
  return (
    <FormGroup label={props.label} fieldId={props.id} isRequired={!props.isOptional}>
      <TextInput
        id={props.id}
        type={props.autoComplete === 'one-time-code' ? 'text' : 'password'}
        autoComplete={props.autoComplete}
        autoFocus={props.autoFocus}
        value={props.value}
        validated={props.error === undefined ? 'default' : 'error'}
        onChange={(_, value) => props.onChange(value)}
      />
      <FieldHelp error={props.error}>{props.help}</FieldHelp>
    </FormGroup>
  );
}
