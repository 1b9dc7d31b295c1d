import { Label } from '@patternfly/react-core';
import type { Decision } from '../../contract/confirmation.ts';
import { useTexts } from '../texts/i18n.ts';
import { TimeText } from './time-text.tsx';

/** Who said what about a request, oldest first. */
export function DecisionList(props: {
  readonly decisions: readonly Decision[];
}): React.ReactElement {
  const { t, word } = useTexts();
  const { decisions } = props;
  if (decisions.length === 0) return <p className="kd-quiet">{t('request.noDecisions')}</p>;
  return (
    <ul className="kd-stack-tight">
      {decisions.map((decision) => (
        <li key={decision.position}>
          <div className="kd-inline">
            <strong>{decision.by.name}</strong> {word('decision', decision.kind)}{' '}
            <TimeText at={decision.at} relative />
            {decision.kind === 'approve' ? (
              <Label isCompact color={decision.counts ? 'green' : 'grey'}>
                {t(decision.counts ? 'request.counts' : 'request.countsNot')}
              </Label>
            ) : null}
          </div>
          {decision.comment === '' ? null : <blockquote>{decision.comment}</blockquote>}
        </li>
      ))}
    </ul>
  );
}
