import { Link } from '@tanstack/react-router';
import type { Request } from '../../contract/requests.ts';
import { useTexts } from '../texts/i18n.ts';
import { useNotice } from './notices.tsx';

/** Says that a request was taken, whether it waits, and where to follow it. */
export function useRequestSent(): (request: Request) => void {
  const { t } = useTexts();
  const say = useNotice();
  return (request) =>
    say({
      text: t(request.state === 'pending' ? 'notice.pending' : 'notice.underWay'),
      link: (
        <Link to="/requests/$requestId" params={{ requestId: request.id }}>
          {t('notice.show')}
        </Link>
      ),
    });
}
