import { Bullseye, Button, Spinner } from '@patternfly/react-core';
import type { UseQueryResult } from '@tanstack/react-query';
import { useTexts } from '../texts/i18n.ts';
import { ProblemAlert } from './problem-alert.tsx';

/** Shows an answer; before it the wait, without it the problem. What was read before stays in sight. */
export function Loaded<Data>(props: {
  readonly query: UseQueryResult<Data>;
  readonly children: (data: Data) => React.ReactNode;
}): React.ReactElement {
  const { t } = useTexts();
  const { query } = props;
  return (
    <>
      {query.error === null ? null : (
        <>
          <ProblemAlert error={query.error} />
          <Button variant="link" onClick={() => void query.refetch()} isLoading={query.isFetching}>
            {t('common.retry')}
          </Button>
        </>
      )}
      {query.data === undefined ? null : props.children(query.data)}
      {query.isPending ? (
        <Bullseye className="kd-wait">
          <Spinner
            aria-label={t('common.loading')}
            aria-valuetext={t('common.loading')}
            size="lg"
          />
        </Bullseye>
      ) : null}
    </>
  );
}
