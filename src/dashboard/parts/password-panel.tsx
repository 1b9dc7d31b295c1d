import { Button } from '@patternfly/react-core';
import { useState } from 'react';
import type { User } from '../../contract/users.ts';
import { useAct } from '../api.ts';
import { newPasswordProblem } from '../logic/sign-in.ts';
import { useTexts } from '../texts/i18n.ts';
import { Facts } from './facts.tsx';
import { FormDialog } from './form-dialog.tsx';
import { NewPasswordFields, NO_NEW_PASSWORD } from './new-password-fields.tsx';
import { useNotice } from './notices.tsx';
import { Panel } from './panel.tsx';
import { SecretField } from './secret-field.tsx';
import { TimeText } from './time-text.tsx';

export function PasswordPanel({ user }: { readonly user: User }): React.ReactElement {
  const { t } = useTexts();
  const [isOpen, setOpen] = useState(false);
  return (
    <Panel
      title={t('password.title')}
      actions={
        <Button variant="secondary" onClick={() => setOpen(true)}>
          {t(user.hasPassword ? 'password.change' : 'password.set')}
        </Button>
      }
    >
      <Facts facts={[[t('password.changed'), <TimeText key="at" at={user.passwordChangedAt} />]]} />
      {isOpen ? <PasswordDialog user={user} onClose={() => setOpen(false)} /> : null}
    </Panel>
  );
}

function PasswordDialog(props: {
  readonly user: User;
  readonly onClose: () => void;
}): React.ReactElement {
  const { t } = useTexts();
  const act = useAct('passwordChange');
  const say = useNotice();
  const [current, setCurrent] = useState('');
  const [fresh, setFresh] = useState(NO_NEW_PASSWORD);
  const { hasPassword } = props.user;
  const isIncomplete =
    (hasPassword && current === '') || newPasswordProblem(fresh.password, fresh.again) !== null;
  const submit = (): void => {
    const body = {
      ...(hasPassword && { currentPassword: current }),
      newPassword: fresh.password,
    };
    act.mutate(
      { args: { body } },
      {
        onSuccess: () => {
          say({ text: t('password.done') });
          props.onClose();
        },
      },
    );
  };
  return (
    <FormDialog
      title={t(hasPassword ? 'password.change' : 'password.set')}
      description={t('password.consequence')}
      submitLabel={t('common.save')}
      isIncomplete={isIncomplete}
      isBusy={act.isPending}
      error={act.error}
      onClose={props.onClose}
      onSubmit={submit}
    >
      {hasPassword ? (
        <SecretField
          autoFocus
          id="current-password"
          label={t('password.current')}
          autoComplete="current-password"
          value={current}
          onChange={setCurrent}
        />
      ) : null}
      <NewPasswordFields value={fresh} onChange={setFresh} />
    </FormDialog>
  );
}
