import { useState } from 'react';
import type { Vm } from '../../contract/vms.ts';
import { useAct } from '../api.ts';
import { formatLabelLines, parseLabelLines } from '../logic/label-lines.ts';
import { FormDialog } from '../parts/form-dialog.tsx';
import { useNotice } from '../parts/notices.tsx';
import { LinesField } from '../parts/text-fields.tsx';
import { useTexts } from '../texts/i18n.ts';

export function LabelsDialog(props: {
  readonly vm: Vm;
  readonly onClose: () => void;
}): React.ReactElement {
  const { t } = useTexts();
  const { vm, onClose } = props;
  const [lines, setLines] = useState(formatLabelLines(vm.labels));
  const act = useAct('vmUpdate');
  const say = useNotice();
  const parsed = parseLabelLines(lines);
  return (
    <FormDialog
      title={t('edit.labelsTitle', { vm: vm.name })}
      submitLabel={t('common.save')}
      isIncomplete={!('labels' in parsed)}
      isBusy={act.isPending}
      error={act.error}
      onClose={onClose}
      onSubmit={() => {
        if (!('labels' in parsed)) return;
        act.mutate(
          { args: { params: { id: vm.id }, body: { labels: parsed.labels } } },
          {
            onSuccess: () => {
              say({ text: t('notice.saved') });
              onClose();
            },
          },
        );
      }}
    >
      <LinesField
        id="labels"
        rows={5}
        label={t('edit.labels')}
        help={t('edit.labelsHelp')}
        error={'badLine' in parsed ? t('edit.labelsBad', { line: parsed.badLine }) : undefined}
        value={lines}
        onChange={setLines}
      />
    </FormDialog>
  );
}
