import { Button } from '@patternfly/react-core';
import { useState } from 'react';
import type { Token } from '../../contract/access.ts';
import { useAct, useItems } from '../api.ts';
import { ConfirmDialog } from '../dialogs/confirm-dialog.tsx';
import { useTexts } from '../texts/i18n.ts';
import { DataTable } from './data-table.tsx';
import { Loaded } from './loaded.tsx';
import { useNotice } from './notices.tsx';
import { Panel } from './panel.tsx';
import { TimeText } from './time-text.tsx';

export function TokenPanel(): React.ReactElement {
  const { t } = useTexts();
  const tokens = useItems('tokenList', {}, { maxItems: 500 });
  const [revoking, setRevoking] = useState<Token | null>(null);
  return (
    <Panel title={t('account.tokens')} className="kd-panel-wide">
      <Loaded query={tokens}>
        {({ items }) =>
          items.length === 0 ? (
            <p className="kd-quiet">{t('account.noTokens')}</p>
          ) : (
            <TokenTable tokens={items} onRevoke={setRevoking} />
          )
        }
      </Loaded>
      {revoking === null ? null : (
        <RevokeDialog token={revoking} onClose={() => setRevoking(null)} />
      )}
    </Panel>
  );
}

function TokenTable(props: {
  readonly tokens: readonly Token[];
  readonly onRevoke: (token: Token) => void;
}): React.ReactElement {
  const { t } = useTexts();
  return (
    <DataTable
      label={t('account.tokens')}
      items={props.tokens}
      keyOf={(token) => token.id}
      columns={[
        { title: t('account.tokenName'), cell: (token) => token.name },
        {
          title: t('account.tokenRights'),
          cell: (token) => token.rights?.join(', ') ?? t('account.allRights'),
        },
        {
          title: t('account.tokenUsed'),
          cell: (token) => <TimeText at={token.lastUsedAt} relative />,
        },
        { title: t('account.tokenExpires'), cell: (token) => <TimeText at={token.expiresAt} /> },
        {
          title: t('common.actions'),
          isActions: true,
          cell: (token) => (
            <Button variant="link" isDanger isInline onClick={() => props.onRevoke(token)}>
              {t('account.revoke')}
            </Button>
          ),
        },
      ]}
    />
  );
}

function RevokeDialog(props: {
  readonly token: Token;
  readonly onClose: () => void;
}): React.ReactElement {
  const { t } = useTexts();
  const act = useAct('tokenDelete');
  const say = useNotice();
  return (
    <ConfirmDialog
      isDanger
      title={t('account.revokeTitle', { name: props.token.name })}
      body={t('account.revokeBody')}
      submitLabel={t('account.revoke')}
      isBusy={act.isPending}
      error={act.error}
      onClose={props.onClose}
      onSubmit={() =>
        act.mutate(
          { args: { params: { id: props.token.id } } },
          {
            onSuccess: () => {
              say({ text: t('account.revoked') });
              props.onClose();
            },
          },
        )
      }
    />
  );
}
