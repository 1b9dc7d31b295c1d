import {
  Button,
  Masthead,
  MastheadBrand,
  MastheadContent,
  MastheadLogo,
  MastheadMain,
  MastheadToggle,
  PageToggleButton,
} from '@patternfly/react-core';
import { BarsIcon } from '@patternfly/react-icons/dist/esm/icons/bars-icon';
import { Link } from '@tanstack/react-router';
import { useWhoami } from '../api.ts';
import { useSignOut } from './use-sign-out.ts';
import { useTexts } from '../texts/i18n.ts';
import { LanguageButton } from './language-button.tsx';
import { Logo } from './logo.tsx';

export function TopBar(props: {
  readonly isOpen: boolean;
  readonly onToggle: () => void;
}): React.ReactElement {
  const { t } = useTexts();
  const whoami = useWhoami();
  const signOut = useSignOut();
  const name = whoami.data?.principal.name ?? '';
  return (
    <Masthead>
      <MastheadMain>
        <MastheadToggle>
          <PageToggleButton
            aria-label={t('nav.toggle')}
            isSidebarOpen={props.isOpen}
            onSidebarToggle={props.onToggle}
          >
            <BarsIcon />
          </PageToggleButton>
        </MastheadToggle>
        <MastheadBrand>
          <MastheadLogo component={(logo) => <Link to="/" {...logo} />}>
            <Logo />
          </MastheadLogo>
        </MastheadBrand>
      </MastheadMain>
      <MastheadContent className="kd-top-bar">
        <LanguageButton />
        <Link to="/account" className="kd-account" aria-label={t('shell.account', { name })}>
          {name}
        </Link>
        <Button variant="plain" onClick={signOut}>
          {t('shell.signOut')}
        </Button>
      </MastheadContent>
    </Masthead>
  );
}
