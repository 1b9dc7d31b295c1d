import {
  EmptyState,
  EmptyStateActions,
  EmptyStateBody,
  EmptyStateFooter,
} from '@patternfly/react-core';

export function Empty(props: {
  readonly title: string;
  readonly body?: string;
  readonly children?: React.ReactNode;
}): React.ReactElement {
  return (
    <EmptyState titleText={props.title} headingLevel="h2" variant="sm">
      {props.body === undefined ? null : <EmptyStateBody>{props.body}</EmptyStateBody>}
      {props.children === undefined ? null : (
        <EmptyStateFooter>
          <EmptyStateActions>{props.children}</EmptyStateActions>
        </EmptyStateFooter>
      )}
    </EmptyState>
  );
}
