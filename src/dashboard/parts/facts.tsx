import {
  DescriptionList,
  DescriptionListDescription,
  DescriptionListGroup,
  DescriptionListTerm,
} from '@patternfly/react-core';

export type Fact = readonly [label: string, value: React.ReactNode];

export function Facts({ facts }: { readonly facts: readonly (Fact | null)[] }): React.ReactElement {
  return (
    <DescriptionList isCompact termWidth="10rem" orientation={{ sm: 'horizontal' }}>
      {facts
        .filter((fact) => fact !== null)
        .map(([label, value]) => (
          <DescriptionListGroup key={label}>
            <DescriptionListTerm>{label}</DescriptionListTerm>
            <DescriptionListDescription>{value}</DescriptionListDescription>
          </DescriptionListGroup>
        ))}
    </DescriptionList>
  );
}
