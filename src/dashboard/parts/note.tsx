import { Alert } from '@patternfly/react-core';
import { useTexts } from '../texts/i18n.ts';

export interface NoteProps {
  readonly variant: 'danger' | 'warning' | 'info';
  readonly title: React.ReactNode;
  readonly level?: 'h2' | 'h3';
  /** Read out when it appears. */
  readonly isLive?: boolean;
  readonly isPlain?: boolean;
  readonly links?: React.ReactNode;
  readonly children?: React.ReactNode;
}

/** An inline alert whose severity is said in the reader's language. */
export function Note(props: NoteProps): React.ReactElement {
  const { t } = useTexts();
  return (
    <Alert
      isInline
      isLiveRegion={props.isLive}
      isPlain={props.isPlain}
      variant={props.variant}
      variantLabel={t(`note.${props.variant}`)}
      component={props.level ?? 'h3'}
      title={props.title}
      actionLinks={props.links}
    >
      {props.children}
    </Alert>
  );
}
