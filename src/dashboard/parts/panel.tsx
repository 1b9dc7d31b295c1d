import { Card, CardBody, CardHeader, CardTitle } from '@patternfly/react-core';

export function Panel(props: {
  readonly title: string;
  readonly actions?: React.ReactNode;
  readonly className?: string;
  readonly children: React.ReactNode;
}): React.ReactElement {
  return (
    <Card className={props.className}>
      <CardHeader
        hasWrap
        actions={
          props.actions === undefined ? undefined : { actions: props.actions, hasNoOffset: true }
        }
      >
        <CardTitle component="h2">{props.title}</CardTitle>
      </CardHeader>
      <CardBody>{props.children}</CardBody>
    </Card>
  );
}
