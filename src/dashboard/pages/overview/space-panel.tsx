import { Link } from '@tanstack/react-router';
import { useItems } from '../../api.ts';
import { Loaded } from '../../parts/loaded.tsx';
import { Panel } from '../../parts/panel.tsx';
import { RepositorySpace } from '../../parts/repository-space.tsx';
import { useTexts } from '../../texts/i18n.ts';

export function SpacePanel(): React.ReactElement {
  const { t } = useTexts();
  const repositories = useItems('repositoryList', {}, { maxItems: 100 });
  return (
    <Panel
      title={t('overview.space')}
      actions={<Link to="/repositories">{t('overview.showAll')}</Link>}
    >
      <Loaded query={repositories}>
        {({ items }) =>
          items.length === 0 ? (
            <p className="kd-quiet">{t('overview.noRepository')}</p>
          ) : (
            <div className="kd-stack">
              {items.map((repository) => (
                <RepositorySpace key={repository.id} repository={repository} />
              ))}
            </div>
          )
        }
      </Loaded>
    </Panel>
  );
}
