import { Checkbox, FormGroup } from '@patternfly/react-core';
import { useState } from 'react';
import { absolutePathSchema } from '../../contract/scalars.ts';
import { useAct } from '../api.ts';
import { Choice } from '../parts/filters.tsx';
import { FormDialog } from '../parts/form-dialog.tsx';
import {
  justificationBody,
  JustificationFields,
  useJustification,
} from '../parts/justification.tsx';
import type { SnapshotDialogProps } from '../parts/snapshot-dialog-props.ts';
import { TextField } from '../parts/text-fields.tsx';
import { useRequestSent } from '../parts/use-request-sent.tsx';
import { useTexts } from '../texts/i18n.ts';
import { Note } from '../parts/note.tsx';

const FORMATS = [
  { value: 'qcow2', label: 'qcow2' },
  { value: 'raw', label: 'raw' },
];

export function ExportDialog({ snapshot, onClose }: SnapshotDialogProps): React.ReactElement {
  const { t } = useTexts();
  const [folder, setFolder] = useState('');
  const [format, setFormat] = useState<'qcow2' | 'raw'>('qcow2');
  const [includeMemory, setIncludeMemory] = useState(false);
  const [justification, setJustification] = useJustification();
  const act = useAct('snapshotExport');
  const announce = useRequestSent();
  return (
    <FormDialog
      title={t('export.title', { snapshot: snapshot.name })}
      submitLabel={t('export.submit')}
      isIncomplete={!absolutePathSchema.safeParse(folder).success}
      isBusy={act.isPending}
      error={act.error}
      onClose={onClose}
      onSubmit={() =>
        act.mutate(
          {
            args: {
              params: { id: snapshot.id },
              body: { folder, format, includeMemory, ...justificationBody(justification) },
            },
          },
          {
            onSuccess: (request) => {
              announce(request);
              onClose();
            },
          },
        )
      }
    >
      <TextField
        id="folder"
        isRequired
        label={t('export.folder')}
        help={t('export.folderHelp')}
        value={folder}
        onChange={setFolder}
      />
      <FormGroup label={t('export.format')} fieldId="format">
        <Choice
          id="format"
          value={format}
          options={FORMATS}
          onChange={(value) => setFormat(value === 'raw' ? 'raw' : 'qcow2')}
        />
      </FormGroup>
      {snapshot.level === 'memory' ? (
        <Checkbox
          id="include-memory"
          label={t('export.memory')}
          isChecked={includeMemory}
          onChange={(_, isChecked) => setIncludeMemory(isChecked)}
        />
      ) : null}
      {includeMemory ? <Note variant="warning" title={t('export.memoryWarning')} /> : null}
      <JustificationFields value={justification} onChange={setJustification} />
    </FormDialog>
  );
}
