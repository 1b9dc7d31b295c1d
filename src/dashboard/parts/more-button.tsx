import { Button } from '@patternfly/react-core';
import { useTexts } from '../texts/i18n.ts';

export function MoreButton(props: {
  readonly count: number;
  readonly hasMore: boolean;
  readonly isBusy: boolean;
  readonly onMore: () => void;
}): React.ReactElement {
  const { t } = useTexts();
  return (
    <div className="kd-more">
      <span className="kd-quiet">{t('common.showing', { count: props.count })}</span>
      {props.hasMore ? (
        <Button variant="link" isInline isLoading={props.isBusy} onClick={props.onMore}>
          {t('common.more')}
        </Button>
      ) : null}
    </div>
  );
}
