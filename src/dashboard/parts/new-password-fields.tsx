import { newPasswordProblem } from '../logic/sign-in.ts';
import { useTexts } from '../texts/i18n.ts';
import { SecretField } from './secret-field.tsx';

export interface NewPassword {
  readonly password: string;
  readonly again: string;
}

export const NO_NEW_PASSWORD: NewPassword = { password: '', again: '' };

/** Twice, since nobody sees what was typed. */
export function NewPasswordFields(props: {
  readonly value: NewPassword;
  readonly onChange: (value: NewPassword) => void;
}): React.ReactElement {
  const { t } = useTexts();
  const { password, again } = props.value;
  const isDifferent = again !== '' && newPasswordProblem(password, again) === 'different';
  return (
    <>
      <SecretField
        id="new-password"
        label={t('password.new')}
        autoComplete="new-password"
        value={password}
        help={t('password.help')}
        onChange={(value) => props.onChange({ password: value, again })}
      />
      <SecretField
        id="new-password-again"
        label={t('password.again')}
        autoComplete="new-password"
        value={again}
        error={isDifferent ? t('password.different') : undefined}
        onChange={(value) => props.onChange({ password, again: value })}
      />
    </>
  );
}
