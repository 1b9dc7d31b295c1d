import { useState } from 'react';
import type { Repository } from '../../contract/repositories.ts';
import { useAct, useItems, useWhoami } from '../api.ts';
import { ConfirmDialog } from '../dialogs/confirm-dialog.tsx';
import { permit } from '../logic/verdicts.ts';
import { Empty } from '../parts/empty.tsx';
import { Facts } from '../parts/facts.tsx';
import { StateLabel } from '../parts/labels.tsx';
import { Loaded } from '../parts/loaded.tsx';
import { PageFrame } from '../parts/page-frame.tsx';
import { Panel } from '../parts/panel.tsx';
import { PermissionButton } from '../parts/permission.tsx';
import { RepositorySpace } from '../parts/repository-space.tsx';
import { TimeText } from '../parts/time-text.tsx';
import { useFormat } from '../parts/use-format.ts';
import { useRequestSent } from '../parts/use-request-sent.tsx';
import { useTexts } from '../texts/i18n.ts';
import { Note } from '../parts/note.tsx';

export function RepositoriesPage(): React.ReactElement {
  const { t } = useTexts();
  const repositories = useItems('repositoryList', {}, { maxItems: 100 });
  return (
    <PageFrame title={t('repositories.title')}>
      <Loaded query={repositories}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty title={t('repositories.empty')} body={t('repositories.emptyBody')} />
          ) : (
            <div className="kd-panels">
              {items.map((repository) => (
                <RepositoryPanel key={repository.id} repository={repository} />
              ))}
            </div>
          )
        }
      </Loaded>
    </PageFrame>
  );
}

function RepositoryPanel(props: { readonly repository: Repository }): React.ReactElement {
  const { t } = useTexts();
  const format = useFormat();
  const { repository } = props;
  return (
    <Panel
      title={repository.name}
      actions={<StateLabel group="repository-state" state={repository.state} />}
    >
      <div className="kd-stack">
        {repository.stateReason === null ? null : (
          <Note
            variant="warning"

            title={<span lang="en">{repository.stateReason}</span>}
          />
        )}
        <RepositorySpace repository={repository} />
        <Facts
          facts={[
            [t('repository.location'), <code className="kd-path">{repository.location}</code>],
            [t('repository.encrypted'), t(repository.encrypted ? 'common.yes' : 'common.no')],
            [t('repository.snapshots'), format.number(repository.snapshots)],
            [t('repository.stored'), format.bytes(repository.storedBytes)],
            [t('repository.unique'), format.bytes(repository.uniqueBytes)],
            [t('repository.packs'), format.number(repository.packs)],
            [t('repository.chunks'), format.number(repository.chunks)],
            [t('repository.formatVersion'), String(repository.formatVersion)],
            [t('repository.measured'), <TimeText at={repository.measuredAt} relative />],
            [t('repository.collected'), <TimeText at={repository.lastCollectedAt} relative />],
          ]}
        />
        <div>
          <CollectButton repository={repository} />
        </div>
      </div>
    </Panel>
  );
}

function CollectButton({ repository }: { readonly repository: Repository }): React.ReactElement {
  const { t } = useTexts();
  const [isOpen, setOpen] = useState(false);
  const rights = useWhoami().data?.rights;
  const act = useAct('repositoryCollect');
  const announce = useRequestSent();
  return (
    <>
      <PermissionButton
        variant="secondary"
        permission={permit({ allowed: true }, 'manage-repository', rights)}
        onClick={() => setOpen(true)}
      >
        {t('repository.collect')}
      </PermissionButton>
      {isOpen ? (
        <ConfirmDialog
          title={t('collect.title', { name: repository.name })}
          body={t('repository.collectHelp')}
          submitLabel={t('collect.submit')}
          isBusy={act.isPending}
          error={act.error}
          onClose={() => setOpen(false)}
          onSubmit={() =>
            act.mutate(
              { args: { params: { id: repository.id } } },
              {
                onSuccess: (request) => {
                  announce(request);
                  setOpen(false);
                },
              },
            )
          }
        />
      ) : null}
    </>
  );
}
