import { Button } from '@patternfly/react-core';
import { AngleLeftIcon } from '@patternfly/react-icons/dist/esm/icons/angle-left-icon';
import { AngleRightIcon } from '@patternfly/react-icons/dist/esm/icons/angle-right-icon';
import { useState } from 'react';
import { useTexts } from '../texts/i18n.ts';

const ROWS_PER_PAGE = 50;

/** Draws fifty rows at a time, so that a thousand stay smooth. */
export function PagedRows<Item>(props: {
  readonly items: readonly Item[];
  readonly children: (items: readonly Item[]) => React.ReactNode;
}): React.ReactElement {
  const { t } = useTexts();
  const [wanted, setPage] = useState(0);
  const total = props.items.length;
  const last = Math.max(0, Math.ceil(total / ROWS_PER_PAGE) - 1);
  const page = Math.min(wanted, last);
  const from = page * ROWS_PER_PAGE;
  const rows = props.items.slice(from, from + ROWS_PER_PAGE);
  return (
    <>
      {props.children(rows)}
      {last === 0 ? null : (
        <nav className="kd-more" aria-label={t('common.pagination')}>
          <span aria-live="polite">
            {t('common.rangeOf', { first: from + 1, last: from + rows.length, total })}
          </span>
          <Button
            variant="plain"
            aria-label={t('common.previousPage')}
            isDisabled={page === 0}
            icon={<AngleLeftIcon />}
            onClick={() => setPage(page - 1)}
          />
          <Button
            variant="plain"
            aria-label={t('common.nextPage')}
            isDisabled={page === last}
            icon={<AngleRightIcon />}
            onClick={() => setPage(page + 1)}
          />
        </nav>
      )}
    </>
  );
}
