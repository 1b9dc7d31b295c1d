import { Checkbox } from '@patternfly/react-core';
import { useState } from 'react';
import type { Answer } from '../../client/client.ts';
import type { Snapshot } from '../../contract/snapshots.ts';
import { useAct, useAsk } from '../api.ts';
import { formatLabelLines, parseLabelLines } from '../logic/label-lines.ts';
import { FormDialog } from '../parts/form-dialog.tsx';
import { useNotice } from '../parts/notices.tsx';
import type { SnapshotDialogProps } from '../parts/snapshot-dialog-props.ts';
import { LinesField, TextField } from '../parts/text-fields.tsx';
import { useTexts } from '../texts/i18n.ts';

/** Edits what it has just read, so that a change by somebody else meanwhile is refused, not undone. */
export function EditDialog({ snapshot, onClose }: SnapshotDialogProps): React.ReactElement {
  const { t } = useTexts();
  const answer = useAsk('snapshotGet', { params: { id: snapshot.id } });
  const say = useNotice();
  const onSaved = (): void => {
    say({ text: t('notice.saved') });
    onClose();
  };
  if (answer.data) return <EditForm answer={answer.data} onSaved={onSaved} onClose={onClose} />;
  return (
    <FormDialog
      title={t('edit.title', { snapshot: snapshot.name })}
      submitLabel={t('common.save')}
      isIncomplete
      isBusy={answer.isPending}
      error={answer.error}
      onSubmit={() => undefined}
      onClose={onClose}
    />
  );
}

/** The end of the chosen day where the reader is. */
const endOfDay = (day: string): string => new Date(`${day}T23:59:59`).toISOString();

const dayOf = (iso: string | null): string => {
  if (iso === null) return '';
  const time = new Date(iso);
  return new Date(time.getTime() - time.getTimezoneOffset() * 60_000).toISOString().slice(0, 10);
};

function EditForm(props: {
  readonly answer: Answer<Snapshot>;
  readonly onSaved: () => void;
  readonly onClose: () => void;
}): React.ReactElement {
  const { t } = useTexts();
  const { body: snapshot, etag } = props.answer;
  const [description, setDescription] = useState(snapshot.description);
  const [labelLines, setLabelLines] = useState(formatLabelLines(snapshot.labels));
  const [isPinned, setPinned] = useState(snapshot.pinned);
  const oldDay = dayOf(snapshot.expiresAt);
  const [day, setDay] = useState(oldDay);
  const act = useAct('snapshotUpdate');
  const parsed = parseLabelLines(labelLines);
  const submit = (): void => {
    if (!('labels' in parsed)) return;
    const expiry = day === oldDay ? {} : { expiresAt: day === '' ? null : endOfDay(day) };
    act.mutate(
      {
        args: {
          params: { id: snapshot.id },
          body: { description, labels: parsed.labels, pinned: isPinned, ...expiry },
        },
        ...(etag === null ? {} : { options: { ifMatch: etag } }),
      },
      {
        onSuccess: props.onSaved,
      },
    );
  };
  return (
    <FormDialog
      title={t('edit.title', { snapshot: snapshot.name })}
      submitLabel={t('common.save')}
      isIncomplete={!('labels' in parsed)}
      isBusy={act.isPending}
      error={act.error}
      onSubmit={submit}
      onClose={props.onClose}
    >
      <LinesField
        id="description"
        label={t('field.description')}
        value={description}
        onChange={setDescription}
      />
      <LinesField
        id="labels"
        label={t('edit.labels')}
        help={t('edit.labelsHelp')}
        error={'badLine' in parsed ? t('edit.labelsBad', { line: parsed.badLine }) : undefined}
        value={labelLines}
        onChange={setLabelLines}
      />
      <TextField
        id="expires"
        type="date"
        label={t('common.optional', { label: t('edit.expires') })}
        value={day}
        onChange={setDay}
      />
      <Checkbox
        id="pinned"
        label={t('edit.pinned')}
        isChecked={isPinned}
        onChange={(_, isChecked) => setPinned(isChecked)}
      />
    </FormDialog>
  );
}
