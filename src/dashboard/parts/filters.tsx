import {
  FormSelect,
  FormSelectOption,
  SearchInput,
  ToggleGroup,
  ToggleGroupItem,
} from '@patternfly/react-core';
import { useEffect, useState } from 'react';
import { useTexts } from '../texts/i18n.ts';

const TYPING_PAUSE_MS = 250;

/** Tells what was typed once the typing pauses. */
export function SearchField(props: {
  readonly label: string;
  readonly value: string;
  readonly onChange: (value: string) => void;
}): React.ReactElement {
  const { t } = useTexts();
  const { value, onChange } = props;
  const [typed, setTyped] = useState(value);
  useEffect(() => {
    if (typed === value) return undefined;
    const timer = setTimeout(() => onChange(typed), TYPING_PAUSE_MS);
    return () => clearTimeout(timer);
  }, [typed, value, onChange]);
  return (
    <SearchInput
      className="kd-search"
      aria-label={props.label}
      placeholder={props.label}
      resetButtonLabel={t('common.clear')}
      value={typed}
      onChange={(_, text) => setTyped(text)}
      onClear={() => setTyped('')}
    />
  );
}

export interface ChoiceOption {
  readonly value: string;
  readonly label: string;
}

export function Choice(props: {
  readonly id?: string;
  readonly label?: string;
  readonly value: string;
  readonly options: readonly ChoiceOption[];
  readonly onChange: (value: string) => void;
}): React.ReactElement {
  return (
    <FormSelect
      id={props.id}
      className="kd-choice"
      aria-label={props.label}
      value={props.value}
      onChange={(_, value) => props.onChange(value)}
    >
      {props.options.map((option) => (
        <FormSelectOption key={option.value} value={option.value} label={option.label} />
      ))}
    </FormSelect>
  );
}

export function Switcher(props: {
  readonly label: string;
  readonly value: string;
  readonly options: readonly ChoiceOption[];
  readonly onChange: (value: string) => void;
}): React.ReactElement {
  return (
    <ToggleGroup aria-label={props.label} isCompact>
      {props.options.map((option) => (
        <ToggleGroupItem
          key={option.value}
          text={option.label}
          isSelected={props.value === option.value}
          onChange={() => props.onChange(option.value)}
        />
      ))}
    </ToggleGroup>
  );
}

export function FilterBar(props: { readonly children: React.ReactNode }): React.ReactElement {
  const { t } = useTexts();
  return (
    <div className="kd-filters" role="search" aria-label={t('common.search')}>
      {props.children}
    </div>
  );
}
