import { useTexts } from '../texts/i18n.ts';
import { useFormat, useNow } from './use-format.ts';

/** A time in the reader's own form; relative ones show the exact time when pointed at. */
export function TimeText(props: {
  readonly at: string | null;
  readonly relative?: boolean;
  /** What to say when there is none. */
  readonly none?: string;
}): React.ReactElement {
  const format = useFormat();
  const now = useNow();
  const { t } = useTexts();
  const { at } = props;
  if (at === null) return <span className="kd-quiet">{props.none ?? t('common.never')}</span>;
  const exact = format.time(at);
  return (
    <time dateTime={at} title={exact}>
      {props.relative ? format.ago(at, now) : exact}
    </time>
  );
}
