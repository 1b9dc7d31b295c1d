import { Link } from '@tanstack/react-router';
import { Empty } from '../parts/empty.tsx';
import { PageFrame } from '../parts/page-frame.tsx';
import { useTexts } from '../texts/i18n.ts';

export function NotFoundPage(): React.ReactElement {
  const { t } = useTexts();
  return (
    <PageFrame title={t('shell.notFound')}>
      <Empty title={t('shell.notFound')} body={t('shell.notFoundBody')}>
        <Link to="/">{t('shell.toOverview')}</Link>
      </Empty>
    </PageFrame>
  );
}
