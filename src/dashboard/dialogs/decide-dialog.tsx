import { useState } from 'react';
import type { DecisionKind } from '../../contract/confirmation.ts';
import type { Request } from '../../contract/requests.ts';
import { useAct } from '../api.ts';
import { FormDialog } from '../parts/form-dialog.tsx';
import { useNotice } from '../parts/notices.tsx';
import { Note } from '../parts/note.tsx';
import { nameOf } from '../parts/request-title.tsx';
import { PlanView } from '../parts/plan-view.tsx';
import { LinesField } from '../parts/text-fields.tsx';
import { useTexts } from '../texts/i18n.ts';

const OPERATION_IDS = {
  approve: 'requestApprove',
  reject: 'requestReject',
  comment: 'requestComment',
  renew: 'requestRenew',
  override: 'requestOverride',
  cancel: 'requestCancel',
} as const;
const NOTICES = {
  approve: 'notice.approved',
  reject: 'notice.rejected',
  comment: 'notice.commented',
  renew: 'notice.renewed',
  override: 'notice.overridden',
  cancel: 'notice.cancelled',
} as const;

/** Decisions that say nothing without words. */
const NEEDS_WORDS: ReadonlySet<DecisionKind> = new Set(['reject', 'comment', 'override']);
const IS_DANGER: ReadonlySet<DecisionKind> = new Set(['reject', 'override', 'cancel']);
const SHOWS_PLAN: ReadonlySet<DecisionKind> = new Set(['approve', 'override']);

export function DecideDialog(props: {
  readonly request: Request;
  readonly decision: DecisionKind;
  readonly onClose: () => void;
}): React.ReactElement {
  const { t, word } = useTexts();
  const { request, decision, onClose } = props;
  const [words, setWords] = useState('');
  const act = useAct(OPERATION_IDS[decision]);
  const say = useNotice();
  const needsWords = NEEDS_WORDS.has(decision);
  const comment = words.trim();
  return (
    <FormDialog
      title={t(`decide.${decision}Title`)}
      description={t('decide.what', {
        operation: word('operation', request.operation),
        name: nameOf(request),
        who: request.requestedBy.name,
      })}
      submitLabel={t(`decide.${decision}`)}
      cancelLabel={t('decide.keep')}
      isDanger={IS_DANGER.has(decision)}
      isIncomplete={needsWords && comment === ''}
      isBusy={act.isPending}
      error={act.error}
      onClose={onClose}
      onSubmit={() =>
        act.mutate(
          {
            args: {
              params: { id: request.id },
              body: decision === 'override' ? { reason: comment } : { comment },
            },
          },
          {
            onSuccess: () => {
              say({ text: t(NOTICES[decision]) });
              onClose();
            },
          },
        )
      }
    >
      {request.reason === null ? null : <blockquote>{request.reason}</blockquote>}
      {decision === 'override' ? <Note variant="warning" title={t('decide.overrideHelp')} /> : null}
      {decision === 'renew' ? <p>{t('decide.renewHelp')}</p> : null}
      {SHOWS_PLAN.has(decision) && request.plan !== null ? <PlanView plan={request.plan} /> : null}
      <LinesField
        id="comment"
        isRequired={needsWords}
        label={
          decision === 'reject' || decision === 'override'
            ? t('decide.why')
            : needsWords
              ? t('decide.words')
              : t('common.optional', { label: t('decide.words') })
        }
        help={decision === 'reject' ? t('decide.rejectHelp') : undefined}
        value={words}
        onChange={setWords}
      />
    </FormDialog>
  );
}
