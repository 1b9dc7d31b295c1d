import { Button, Label } from '@patternfly/react-core';
import type { Session } from '../../contract/users.ts';
import { useAct, useItems } from '../api.ts';
import { useTexts } from '../texts/i18n.ts';
import { DataTable } from './data-table.tsx';
import { Loaded } from './loaded.tsx';
import { useNotice } from './notices.tsx';
import { Panel } from './panel.tsx';
import { ProblemAlert } from './problem-alert.tsx';
import { TimeText } from './time-text.tsx';

export function SessionPanel(): React.ReactElement {
  const { t } = useTexts();
  const sessions = useItems('sessionList', {}, { maxItems: 100 });
  const act = useAct('sessionDelete');
  const say = useNotice();
  const end = (session: Session): void =>
    act.mutate(
      { args: { params: { id: session.id } } },
      { onSuccess: () => say({ text: t('sessions.ended') }) },
    );
  return (
    <Panel title={t('sessions.title')} className="kd-panel-wide">
      {act.error === null ? null : <ProblemAlert error={act.error} />}
      <Loaded query={sessions}>
        {({ items }) =>
          items.length === 0 ? (
            <p className="kd-quiet">{t('sessions.none')}</p>
          ) : (
            <DataTable
              label={t('sessions.title')}
              items={items}
              keyOf={(session) => session.id}
              columns={[
                {
                  title: t('sessions.program'),
                  cell: (session) => (
                    <>
                      {session.userAgent ?? t('common.unknown')}{' '}
                      {session.isCurrent ? (
                        <Label isCompact color="blue">
                          {t('sessions.current')}
                        </Label>
                      ) : null}
                    </>
                  ),
                },
                { title: t('audit.source'), cell: (session) => session.sourceAddress },
                {
                  title: t('account.tokenUsed'),
                  cell: (session) => <TimeText at={session.lastUsedAt} relative />,
                },
                {
                  title: t('account.tokenExpires'),
                  cell: (session) => <TimeText at={session.expiresAt} />,
                },
                {
                  title: t('common.actions'),
                  isActions: true,
                  cell: (session) => (
                    <Button
                      variant="link"
                      isDanger
                      isInline
                      isDisabled={act.isPending}
                      onClick={() => end(session)}
                    >
                      {t('sessions.end')}
                    </Button>
                  ),
                },
              ]}
            />
          )
        }
      </Loaded>
    </Panel>
  );
}
