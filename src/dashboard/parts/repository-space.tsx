import { Progress } from '@patternfly/react-core';
import type { Repository } from '../../contract/repositories.ts';
import { judgeSpace } from '../logic/repository-space.ts';
import { useTexts } from '../texts/i18n.ts';
import { useFormat } from './use-format.ts';

export function RepositorySpace(props: { readonly repository: Repository }): React.ReactElement {
  const { t } = useTexts();
  const format = useFormat();
  const { repository } = props;
  const { usedShare, ratio } = judgeSpace(repository);
  return (
    <div className="kd-stack-tight">
      {usedShare === null ? (
        <strong>{repository.name}</strong>
      ) : (
        <Progress
          id={`space-${repository.id}`}
          size="sm"
          title={repository.name}
          value={Math.round(usedShare * 100)}
          measureLocation="outside"
          variant={usedShare > 0.9 ? 'danger' : usedShare > 0.75 ? 'warning' : undefined}
          aria-label={t('repository.usedShare')}
        />
      )}
      <span>
        {t('repository.used', {
          stored: format.bytes(repository.storedBytes),
          free:
            repository.freeBytes === null
              ? t('common.unknown')
              : format.bytes(repository.freeBytes),
        })}
      </span>
      {ratio === null ? null : (
        <span className="kd-quiet">{t('overview.dedup', { ratio: format.ratio(ratio) })}</span>
      )}
    </div>
  );
}
