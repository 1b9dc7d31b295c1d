import { ActionGroup, Button, Form, FormGroup, TextInput } from '@patternfly/react-core';
import { useState } from 'react';
import { createClient } from '../../client/client.ts';
import {
  isRefusedSignIn,
  newPasswordProblem,
  signInBody,
  wantsNewPassword,
  type SignInFields,
} from '../logic/sign-in.ts';
import { NewPasswordFields, NO_NEW_PASSWORD } from '../parts/new-password-fields.tsx';
import { Note } from '../parts/note.tsx';
import { ProblemAlert } from '../parts/problem-alert.tsx';
import { SecretField } from '../parts/secret-field.tsx';
import { signInWithSession } from '../session.ts';
import { useTexts } from '../texts/i18n.ts';

export function PasswordForm(): React.ReactElement {
  const { t } = useTexts();
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const [code, setCode] = useState('');
  const [isTemporary, setTemporary] = useState(false);
  const [fresh, setFresh] = useState(NO_NEW_PASSWORD);
  const [error, setError] = useState<unknown>(null);
  const [isBusy, setBusy] = useState(false);
  const isIncomplete =
    name.trim() === '' ||
    password === '' ||
    (isTemporary && newPasswordProblem(fresh.password, fresh.again) !== null);

  const submit = async (): Promise<void> => {
    setBusy(true);
    try {
      await signIn({ name, password, code, newPassword: isTemporary ? fresh.password : null });
    } catch (thrown) {
      setBusy(false);
      if (wantsNewPassword(thrown)) setTemporary(true);
      setError(wantsNewPassword(thrown) ? null : thrown);
    }
  };
  return (
    <Form
      className="kd-gap-above"
      onSubmit={(event) => {
        event.preventDefault();
        if (!isIncomplete && !isBusy) void submit();
      }}
    >
      <Notes error={error} isTemporary={isTemporary} />
      <FormGroup label={t('signIn.name')} fieldId="name" isRequired>
        <TextInput
          id="name"
          autoComplete="username"
          autoCapitalize="none"
          spellCheck={false}
          autoFocus
          value={name}
          onChange={(_, value) => setName(value)}
        />
      </FormGroup>
      <SecretField
        id="password"
        label={t('signIn.password')}
        autoComplete="current-password"
        value={password}
        onChange={setPassword}
      />
      <SecretField
        isOptional
        id="code"
        label={t('common.optional', { label: t('signIn.code') })}
        autoComplete="one-time-code"
        value={code}
        help={t('signIn.codeHelp')}
        onChange={setCode}
      />
      {isTemporary ? <NewPasswordFields value={fresh} onChange={setFresh} /> : null}
      <ActionGroup>
        <Button type="submit" isLoading={isBusy} isDisabled={isBusy || isIncomplete} isBlock>
          {t('signIn.submit')}
        </Button>
      </ActionGroup>
    </Form>
  );
}

async function signIn(fields: SignInFields): Promise<void> {
  const client = createClient({ baseUrl: location.origin });
  const { session } = await client.call('sessionCreate', { body: signInBody(fields) });
  signInWithSession(session?.csrfToken ?? '');
}

function Notes(props: {
  readonly error: unknown;
  readonly isTemporary: boolean;
}): React.ReactElement | null {
  const { t } = useTexts();
  if (isRefusedSignIn(props.error))
    return <Note isLive variant="danger" title={t('signIn.wrong')} level="h2" />;
  if (props.error !== null) return <ProblemAlert error={props.error} />;
  if (!props.isTemporary) return null;
  return <Note isLive variant="info" title={t('signIn.temporary')} level="h2" />;
}
