import { FormHelperText, HelperText, HelperTextItem } from '@patternfly/react-core';

export function FieldHelp(props: {
  readonly children?: React.ReactNode;
  /** Stands in for the help while something is wrong. */
  readonly error?: string | undefined;
}): React.ReactElement | null {
  if (props.error === undefined && props.children === undefined) return null;
  return (
    <FormHelperText>
      <HelperText aria-live="polite">
        <HelperTextItem variant={props.error === undefined ? 'default' : 'error'}>
          {props.error ?? props.children}
        </HelperTextItem>
      </HelperText>
    </FormHelperText>
  );
}
