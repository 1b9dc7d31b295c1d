import { useState } from 'react';
import type { Request } from '../../contract/requests.ts';
import { useAct } from '../api.ts';
import { FormDialog } from '../parts/form-dialog.tsx';
import { useNotice } from '../parts/notices.tsx';
import { nameOf } from '../parts/request-title.tsx';
import { PlanView } from '../parts/plan-view.tsx';
import { LinesField } from '../parts/text-fields.tsx';
import { useTexts } from '../texts/i18n.ts';

export type Decision = 'approve' | 'reject' | 'cancel';

const OPERATION_IDS = {
  approve: 'requestApprove',
  reject: 'requestReject',
  cancel: 'requestCancel',
} as const;
const NOTICES = {
  approve: 'notice.approved',
  reject: 'notice.rejected',
  cancel: 'notice.cancelled',
} as const;

export function DecideDialog(props: {
  readonly request: Request;
  readonly decision: Decision;
  readonly onClose: () => void;
}): React.ReactElement {
  const { t, word } = useTexts();
  const { request, decision, onClose } = props;
  const [comment, setComment] = useState('');
  const act = useAct(OPERATION_IDS[decision]);
  const say = useNotice();
  const isReject = decision === 'reject';
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
      isDanger={decision !== 'approve'}
      isIncomplete={isReject && comment.trim() === ''}
      isBusy={act.isPending}
      error={act.error}
      onClose={onClose}
      onSubmit={() =>
        act.mutate(
          { args: { params: { id: request.id }, body: { comment: comment.trim() } } },
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
      {decision === 'approve' && request.plan !== null ? <PlanView plan={request.plan} /> : null}
      <LinesField
        id="comment"
        isRequired={isReject}
        label={
          isReject
            ? t('decide.rejectComment')
            : t('common.optional', { label: t('decide.comment') })
        }
        help={isReject ? t('decide.rejectHelp') : undefined}
        value={comment}
        onChange={setComment}
      />
    </FormDialog>
  );
}
