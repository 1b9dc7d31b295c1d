import { FormGroup, TextArea, TextInput } from '@patternfly/react-core';
import { FieldHelp } from './field-help.tsx';

interface FieldProps {
  readonly id: string;
  readonly label: string;
  readonly value: string;
  readonly onChange: (value: string) => void;
  readonly help?: string;
  readonly error?: string | undefined;
  readonly isRequired?: boolean;
}

export function TextField(
  props: FieldProps & { readonly type?: 'text' | 'date' },
): React.ReactElement {
  return (
    <FormGroup label={props.label} fieldId={props.id} isRequired={props.isRequired}>
      <TextInput
        id={props.id}
        type={props.type ?? 'text'}
        value={props.value}
        autoComplete="off"
        validated={props.error === undefined ? 'default' : 'error'}
        onChange={(_, value) => props.onChange(value)}
      />
      <FieldHelp error={props.error}>{props.help}</FieldHelp>
    </FormGroup>
  );
}

export function LinesField(props: FieldProps & { readonly rows?: number }): React.ReactElement {
  return (
    <FormGroup label={props.label} fieldId={props.id} isRequired={props.isRequired}>
      <TextArea
        id={props.id}
        rows={props.rows ?? 2}
        resizeOrientation="vertical"
        value={props.value}
        validated={props.error === undefined ? 'default' : 'error'}
        onChange={(_, value) => props.onChange(value)}
      />
      <FieldHelp error={props.error}>{props.help}</FieldHelp>
    </FormGroup>
  );
}
