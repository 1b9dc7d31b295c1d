import { Button } from '@patternfly/react-core';
import { PageFrame } from '../parts/page-frame.tsx';
import { ProblemAlert } from '../parts/problem-alert.tsx';
import { useTexts } from '../texts/i18n.ts';

export function PageCrash({ error }: { readonly error: unknown }): React.ReactElement {
  const { t } = useTexts();
  return (
    <PageFrame title={t('shell.crashed')}>
      <ProblemAlert error={error} />
      <Button className="kd-gap-above" onClick={() => location.reload()}>
        {t('shell.reload')}
      </Button>
    </PageFrame>
  );
}
