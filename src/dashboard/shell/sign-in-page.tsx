import {
  ActionGroup,
  Button,
  Card,
  CardBody,
  Form,
  FormGroup,
  TextInput,
} from '@patternfly/react-core';
import { useState } from 'react';
import { createClient } from '../../client/client.ts';
import { OperationError } from '../../shared/errors.ts';
import { FieldHelp } from '../parts/field-help.tsx';
import { ProblemAlert } from '../parts/problem-alert.tsx';
import { signInWithToken } from '../session.ts';
import { useTexts } from '../texts/i18n.ts';
import { LanguageButton } from './language-button.tsx';
import { Logo } from './logo.tsx';
import { Note } from '../parts/note.tsx';
import { PasswordForm } from './password-form.tsx';

const isRefused = (error: unknown): boolean =>
  error instanceof OperationError && error.code === 'unauthenticated';

export function SignInPage(): React.ReactElement {
  const { t } = useTexts();
  const [usesToken, setUsesToken] = useState(false);
  return (
    <main className="kd-sign-in">
      <title>{t('app.title', { page: t('signIn.title') })}</title>
      <Card className="kd-sign-in-card" isLarge>
        <CardBody>
          <div className="kd-spread">
            <Logo />
            <LanguageButton />
          </div>
          <h1 className="kd-sign-in-title">{t('signIn.title')}</h1>
          <p>{t('signIn.intro')}</p>
          {usesToken ? <TokenForm /> : <PasswordForm />}
          <Button variant="link" isInline onClick={() => setUsesToken(!usesToken)}>
            {t(usesToken ? 'signIn.usePassword' : 'signIn.useToken')}
          </Button>
        </CardBody>
      </Card>
    </main>
  );
}

function TokenForm(): React.ReactElement {
  const { t } = useTexts();
  const [secret, setSecret] = useState('');
  const [error, setError] = useState<unknown>(null);
  const [isEmpty, setEmpty] = useState(false);
  const [isBusy, setBusy] = useState(false);

  const submit = async (): Promise<void> => {
    const token = secret.trim();
    setEmpty(token === '');
    if (token === '') return;
    setBusy(true);
    try {
      await createClient({ baseUrl: location.origin, token }).call('whoami', {});
      signInWithToken(token);
    } catch (thrown) {
      setError(thrown);
      setBusy(false);
    }
  };
  return (
    <Form
      className="kd-gap-above"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      {isRefused(error) ? (
        <Note isLive variant="danger" title={t('signIn.refused')} level="h2" />
      ) : error === null ? null : (
        <ProblemAlert error={error} />
      )}
      <FormGroup label={t('signIn.token')} fieldId="token" isRequired>
        <TextInput
          id="token"
          type="password"
          autoComplete="off"
          autoFocus
          value={secret}
          validated={isEmpty ? 'error' : 'default'}
          onChange={(_, value) => setSecret(value)}
        />
        <FieldHelp error={isEmpty ? t('signIn.required') : undefined}>
          {t('signIn.kept')} {t('signIn.help')}
        </FieldHelp>
      </FormGroup>
      <ActionGroup>
        <Button type="submit" isLoading={isBusy} isDisabled={isBusy} isBlock>
          {t('signIn.submit')}
        </Button>
      </ActionGroup>
    </Form>
  );
}
