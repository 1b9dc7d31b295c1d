import { Checkbox, FormGroup, Radio } from '@patternfly/react-core';
import { useState } from 'react';
import type { SnapshotKind, QuiescePolicy } from '../../shared/inventory.ts';
import type { Vm } from '../../contract/vms.ts';
import { useAct } from '../api.ts';
import { capturableDisks, createBody, EXPIRY_DAYS, parseQuiesce } from '../logic/create-input.ts';
import type { CreateForm } from '../logic/create-input.ts';
import { Choice } from '../parts/filters.tsx';
import { FormDialog } from '../parts/form-dialog.tsx';
import { JustificationFields } from '../parts/justification.tsx';
import { LinesField, TextField } from '../parts/text-fields.tsx';
import { useFormat } from '../parts/use-format.ts';
import { useRequestSent } from '../parts/use-request-sent.tsx';
import { useTexts } from '../texts/i18n.ts';
import { PreflightPanel, usePreflight } from './preflight-panel.tsx';

const QUIESCE: readonly QuiescePolicy[] = ['prefer', 'require', 'never'];

interface FieldsProps {
  readonly vm: Vm;
  readonly form: CreateForm;
  readonly onChange: (form: CreateForm) => void;
}

export function CreateDialog(props: {
  readonly vm: Vm;
  readonly onClose: () => void;
}): React.ReactElement {
  const { t } = useTexts();
  const { vm, onClose } = props;
  const [form, setForm] = useState<CreateForm>({
    name: '',
    description: '',
    kind: 'full',
    quiesce: 'prefer',
    skipDisks: [],
    expiresInDays: 0,
    reason: '',
    reference: '',
  });
  const preflight = usePreflight(vm, form);
  const create = useAct('snapshotCreate');
  const announce = useRequestSent();
  const plan = preflight.data;
  return (
    <FormDialog
      size="large"
      title={t('create.title', { vm: vm.name })}
      submitLabel={t(plan?.confirmationNeeded ? 'create.submitRequest' : 'create.submit')}
      isIncomplete={plan?.possible !== true || preflight.isPlaceholderData}
      isBusy={create.isPending}
      error={create.error}
      onClose={onClose}
      onSubmit={() =>
        create.mutate(
          { args: { body: createBody(vm.id, form, new Date()) } },
          {
            onSuccess: (request) => {
              announce(request);
              onClose();
            },
          },
        )
      }
    >
      <div className="kd-two-columns">
        <div className="kd-stack">
          <TextField
            id="name"
            label={t('common.optional', { label: t('create.name') })}
            help={t('create.nameHelp', { vm: vm.name })}
            value={form.name}
            onChange={(name) => setForm({ ...form, name })}
          />
          <KindField vm={vm} form={form} onChange={setForm} />
          <DiskFields vm={vm} form={form} onChange={setForm} />
          <ExpiryField vm={vm} form={form} onChange={setForm} />
          <LinesField
            id="description"
            label={t('common.optional', { label: t('field.description') })}
            value={form.description}
            onChange={(description) => setForm({ ...form, description })}
          />
          <JustificationFields
            value={form}
            onChange={(justification) => setForm({ ...form, ...justification })}
          />
        </div>
        <PreflightPanel preflight={preflight} />
      </div>
    </FormDialog>
  );
}

function KindField({ form, onChange }: FieldsProps): React.ReactElement {
  const { t, word } = useTexts();
  const kinds: readonly SnapshotKind[] = ['full', 'disk'];
  return (
    <>
      <FormGroup role="radiogroup" label={t('create.kind')} fieldId="kind" isStack>
        {kinds.map((kind) => (
          <Radio
            key={kind}
            id={`kind-${kind}`}
            name="kind"
            label={word('kind', kind)}
            description={t(kind === 'full' ? 'create.kindFullHelp' : 'create.kindDiskHelp')}
            isChecked={form.kind === kind}
            onChange={() => onChange({ ...form, kind })}
          />
        ))}
      </FormGroup>
      {form.kind === 'full' ? null : (
        <FormGroup label={t('create.quiesce')} fieldId="quiesce">
          <Choice
            id="quiesce"
            value={form.quiesce}
            options={QUIESCE.map((value) => ({ value, label: word('quiesce', value) }))}
            onChange={(value) => onChange({ ...form, quiesce: parseQuiesce(value) })}
          />
        </FormGroup>
      )}
    </>
  );
}

function DiskFields({ vm, form, onChange }: FieldsProps): React.ReactElement | null {
  const { t } = useTexts();
  const format = useFormat();
  const disks = capturableDisks(vm);
  if (disks.length < 2) return null;
  return (
    <FormGroup role="group" label={t('create.disks')} fieldId="disks" isStack>
      {disks.map((disk) => (
        <Checkbox
          key={disk.target}
          id={`disk-${disk.target}`}
          label={t('create.disk', { target: disk.target, size: format.bytes(disk.sizeBytes) })}
          isChecked={!form.skipDisks.includes(disk.target)}
          onChange={(_, isChecked) =>
            onChange({
              ...form,
              skipDisks: isChecked
                ? form.skipDisks.filter((target) => target !== disk.target)
                : [...form.skipDisks, disk.target],
            })
          }
        />
      ))}
    </FormGroup>
  );
}

function ExpiryField({ form, onChange }: FieldsProps): React.ReactElement {
  const { t } = useTexts();
  return (
    <FormGroup label={t('create.expires')} fieldId="expires">
      <Choice
        id="expires"
        value={String(form.expiresInDays)}
        options={EXPIRY_DAYS.map((days) => ({
          value: String(days),
          label: t(`create.expires.${days}`),
        }))}
        onChange={(value) => onChange({ ...form, expiresInDays: Number(value) })}
      />
    </FormGroup>
  );
}
