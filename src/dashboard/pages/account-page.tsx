import { FormGroup, Label } from '@patternfly/react-core';
import type { Whoami } from '../../contract/access.ts';
import { RIGHTS } from '../../contract/rights.ts';
import { useCall, useWhoami } from '../api.ts';
import { setLanguage, setTheme, THEMES, useLanguage, useTheme } from '../preferences.ts';
import { Facts } from '../parts/facts.tsx';
import { Choice } from '../parts/filters.tsx';
import { Loaded } from '../parts/loaded.tsx';
import { PageFrame } from '../parts/page-frame.tsx';
import { Panel } from '../parts/panel.tsx';
import { CodesPanel } from '../parts/codes-panel.tsx';
import { PasswordPanel } from '../parts/password-panel.tsx';
import { SessionPanel } from '../parts/session-panel.tsx';
import { TokenPanel } from '../parts/token-panel.tsx';
import { useTexts } from '../texts/i18n.ts';

export function AccountPage(): React.ReactElement {
  const { t } = useTexts();
  const whoami = useWhoami();
  return (
    <PageFrame title={t('account.title')}>
      <div className="kd-panels">
        <Panel title={t('account.who')}>
          <Loaded query={whoami}>{(data) => <Who whoami={data} />}</Loaded>
        </Panel>
        <Preferences />
        {whoami.data?.principal.kind === 'user' ? <Guards /> : null}
        <TokenPanel />
      </div>
    </PageFrame>
  );
}

/** What guards the way in; other principals than users have none of it. */
function Guards(): React.ReactElement {
  const account = useCall('accountGet', {});
  return (
    <>
      <Loaded query={account}>
        {(data) => (
          <>
            <PasswordPanel user={data.user} />
            <CodesPanel account={data} />
          </>
        )}
      </Loaded>
      <SessionPanel />
    </>
  );
}

function Who({ whoami }: { readonly whoami: Whoami }): React.ReactElement {
  const { t, word } = useTexts();
  const mayNot = RIGHTS.filter((right) => !whoami.rights.includes(right));
  const list = (rights: readonly string[]): React.ReactElement => (
    <ul className="kd-list">
      {rights.map((right) => (
        <li key={right}>{word('right', right)}</li>
      ))}
    </ul>
  );
  return (
    <Facts
      facts={[
        [t('field.name'), whoami.principal.name],
        [t('account.kind'), word('principal-kind', whoami.principal.kind)],
        [
          t('account.roles'),
          whoami.roles.map((role) => (
            <Label key={role} isCompact>
              {word('role', role)}
            </Label>
          )),
        ],
        [t('account.rights'), list(whoami.rights)],
        mayNot.length === 0 ? null : [t('account.mayNot'), list(mayNot)],
        [t('account.version'), whoami.serverVersion],
      ]}
    />
  );
}

function Preferences(): React.ReactElement {
  const { t } = useTexts();
  const language = useLanguage();
  const theme = useTheme();
  return (
    <Panel title={t('account.preferences')}>
      <div className="kd-stack">
        <FormGroup label={t('shell.language')} fieldId="language">
          <Choice
            id="language"
            value={language}
            options={[
              { value: 'en', label: t('shell.language.en') },
              { value: 'ja', label: t('shell.language.ja') },
            ]}
            onChange={(value) => setLanguage(value === 'ja' ? 'ja' : 'en')}
          />
        </FormGroup>
        <FormGroup label={t('shell.theme')} fieldId="theme">
          <Choice
            id="theme"
            value={theme}
            options={THEMES.map((value) => ({ value, label: t(`shell.theme.${value}`) }))}
            onChange={(value) => setTheme(THEMES.find((name) => name === value) ?? 'system')}
          />
        </FormGroup>
      </div>
    </Panel>
  );
}
