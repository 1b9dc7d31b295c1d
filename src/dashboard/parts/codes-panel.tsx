import { Button, Modal, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { useState } from 'react';
import type { Account, OneTimeCodesSecret } from '../../contract/account.ts';
import { useAct } from '../api.ts';
import { useTexts } from '../texts/i18n.ts';
import { Facts } from './facts.tsx';
import { FormDialog } from './form-dialog.tsx';
import { Note } from './note.tsx';
import { Panel } from './panel.tsx';
import { SecretField } from './secret-field.tsx';

type Step =
  | { readonly kind: 'none' | 'begin' | 'remove' | 'renew' }
  | { readonly kind: 'confirm'; readonly secret: OneTimeCodesSecret }
  | { readonly kind: 'keep'; readonly recoveryCodes: readonly string[] };

/** One-time codes: set up with an app, recovery codes, and removal. */
export function CodesPanel({ account }: { readonly account: Account }): React.ReactElement {
  const { t } = useTexts();
  const [step, setStep] = useState<Step>({ kind: 'none' });
  const close = (): void => setStep({ kind: 'none' });
  const isOn = account.user.oneTimeCodes;
  const button = (kind: 'begin' | 'remove' | 'renew'): React.ReactElement => (
    <Button
      key={kind}
      variant={kind === 'remove' ? 'link' : 'secondary'}
      isDanger={kind === 'remove'}
      isDisabled={!account.user.hasPassword}
      onClick={() => setStep({ kind })}
    >
      {t(`codes.${kind}`)}
    </Button>
  );
  return (
    <Panel
      title={t('codes.title')}
      actions={isOn ? [button('renew'), button('remove')] : button('begin')}
    >
      <Facts
        facts={[
          [t('codes.state'), t(isOn ? 'common.yes' : 'common.no')],
          isOn ? [t('codes.left'), String(account.recoveryCodesLeft)] : null,
        ]}
      />
      {step.kind === 'begin' || step.kind === 'remove' || step.kind === 'renew' ? (
        <ProofDialog kind={step.kind} onClose={close} onStep={setStep} />
      ) : null}
      {step.kind === 'confirm' ? (
        <ConfirmCodeDialog secret={step.secret} onClose={close} onStep={setStep} />
      ) : null}
      {step.kind === 'keep' ? <RecoveryCodes codes={step.recoveryCodes} onClose={close} /> : null}
    </Panel>
  );
}

function ProofDialog(props: {
  readonly kind: 'begin' | 'remove' | 'renew';
  readonly onClose: () => void;
  readonly onStep: (step: Step) => void;
}): React.ReactElement {
  const { t } = useTexts();
  const { kind, onClose, onStep } = props;
  const [password, setPassword] = useState('');
  const [code, setCode] = useState('');
  const begin = useAct('oneTimeCodesBegin');
  const remove = useAct('oneTimeCodesRemove');
  const renew = useAct('recoveryCodesRenew');
  const act = { begin, remove, renew }[kind];
  const submit = (): void => {
    const args = { body: { password, ...(code.trim() !== '' && { code: code.trim() }) } };
    if (kind === 'begin')
      begin.mutate({ args }, { onSuccess: (secret) => onStep({ kind: 'confirm', secret }) });
    else if (kind === 'remove') remove.mutate({ args }, { onSuccess: onClose });
    else renew.mutate({ args }, { onSuccess: (made) => onStep({ kind: 'keep', ...made }) });
  };
  return (
    <FormDialog
      title={t(`codes.${kind}`)}
      description={t('codes.proof')}
      submitLabel={t('common.next')}
      isDanger={kind === 'remove'}
      isIncomplete={password === '' || (kind !== 'begin' && code.trim() === '')}
      isBusy={act.isPending}
      error={act.error}
      onClose={onClose}
      onSubmit={submit}
    >
      <SecretField
        autoFocus
        id="current-password"
        label={t('password.current')}
        autoComplete="current-password"
        value={password}
        onChange={setPassword}
      />
      {kind === 'begin' ? null : (
        <SecretField
          id="code"
          label={t('signIn.code')}
          autoComplete="one-time-code"
          value={code}
          onChange={setCode}
        />
      )}
    </FormDialog>
  );
}

function ConfirmCodeDialog(props: {
  readonly secret: OneTimeCodesSecret;
  readonly onClose: () => void;
  readonly onStep: (step: Step) => void;
}): React.ReactElement {
  const { t } = useTexts();
  const [code, setCode] = useState('');
  const act = useAct('oneTimeCodesConfirm');
  return (
    <FormDialog
      title={t('codes.begin')}
      description={t('codes.type')}
      submitLabel={t('codes.confirm')}
      isIncomplete={code.trim() === ''}
      isBusy={act.isPending}
      error={act.error}
      onClose={props.onClose}
      onSubmit={() =>
        act.mutate(
          { args: { body: { code: code.trim() } } },
          { onSuccess: (made) => props.onStep({ kind: 'keep', ...made }) },
        )
      }
    >
      <p>
        <code>{props.secret.secret}</code>
      </p>
      <p>
        <a href={props.secret.uri}>{t('codes.link')}</a>
      </p>
      <SecretField
        autoFocus
        id="code"
        label={t('codes.shown')}
        autoComplete="one-time-code"
        value={code}
        onChange={setCode}
      />
    </FormDialog>
  );
}

function RecoveryCodes(props: {
  readonly codes: readonly string[];
  readonly onClose: () => void;
}): React.ReactElement {
  const { t } = useTexts();
  return (
    <Modal isOpen variant="small" aria-labelledby="recovery-title" onEscapePress={props.onClose}>
      <ModalHeader title={t('codes.keepTitle')} labelId="recovery-title" />
      <ModalBody tabIndex={0}>
        <Note variant="warning" title={t('codes.keep')} />
        <ul className="kd-list kd-gap-above">
          {props.codes.map((code) => (
            <li key={code}>
              <code>{code}</code>
            </li>
          ))}
        </ul>
      </ModalBody>
      <ModalFooter>
        <Button onClick={props.onClose}>{t('codes.kept')}</Button>
      </ModalFooter>
    </Modal>
  );
}
