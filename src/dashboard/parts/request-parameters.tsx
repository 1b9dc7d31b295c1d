import { Link } from '@tanstack/react-router';
import type {
  RequestParameters as Parameters,
  RequestResult as Result,
} from '../../contract/requests.ts';
import { useTexts } from '../texts/i18n.ts';
import type { Texts } from '../texts/i18n.ts';
import { startChoice } from '../logic/restore-form.ts';
import { Facts } from './facts.tsx';
import type { Fact } from './facts.tsx';
import { KeyValueLabels } from './labels.tsx';
import { TimeText } from './time-text.tsx';
import { useFormat } from './use-format.ts';

export function RequestParameters(props: { readonly parameters: Parameters }): React.ReactElement {
  return <Facts facts={factsOf(props.parameters, useTexts())} />;
}

function factsOf(parameters: Parameters, { t, word }: Texts): (Fact | null)[] {
  const yesNo = (value: boolean): string => t(value ? 'common.yes' : 'common.no');
  const operation: Fact = [t('field.operation'), word('operation', parameters.operation)];
  switch (parameters.operation) {
    case 'create':
      return [
        operation,
        parameters.name === undefined ? null : [t('field.name'), parameters.name],
        [t('field.kind'), word('kind', parameters.kind)],
        parameters.kind === 'full'
          ? null
          : [t('create.quiesce'), word('quiesce', parameters.quiesce)],
        parameters.skipDisks.length === 0
          ? null
          : [t('snapshot.skipped'), parameters.skipDisks.join(', ')],
        parameters.description === '' ? null : [t('field.description'), parameters.description],
        [t('field.labels'), <KeyValueLabels labels={parameters.labels} />],
        [t('field.expires'), <TimeText at={parameters.expiresAt ?? null} />],
      ];
    case 'restore':
      return parameters.mode === 'rollback'
        ? [
            operation,
            [t('plan.safety'), yesNo(parameters.safetySnapshot)],
            [t('restore.start'), t(`restore.start.${startChoice(parameters.start)}`)],
          ]
        : [
            operation,
            [t('restore.vmName'), parameters.name],
            [t('plan.startsVm'), yesNo(parameters.start)],
            [t('plan.resumesMemory'), yesNo(parameters.resumeMemory)],
          ];
    case 'export':
      return [
        operation,
        [t('export.folder'), <code className="kd-path">{parameters.folder}</code>],
        [t('field.format'), parameters.format],
        [t('field.memory'), yesNo(parameters.includeMemory)],
      ];
    case 'change-rules':
      return [operation, [t('rule.change'), t(`rule.change.${parameters.change.kind}`)]];
    case 'delete':
    case 'verify':
    case 'collect':
      return [operation];
    default:
      return parameters satisfies never;
  }
}

export function RequestResult({ result }: { readonly result: Result }): React.ReactElement {
  const { t } = useTexts();
  const format = useFormat();
  const link = (id: string): React.ReactElement => (
    <Link to="/snapshots/$snapshotId" params={{ snapshotId: id }}>
      {id}
    </Link>
  );
  const { snapshotId, safetySnapshotId, vmId, files, notes } = result;
  return (
    <div className="kd-stack">
      <Facts
        facts={[
          snapshotId === undefined ? null : [t('field.snapshot'), link(snapshotId)],
          safetySnapshotId === undefined
            ? null
            : [t('step.safety snapshot'), link(safetySnapshotId)],
          vmId === undefined
            ? null
            : [
                t('field.vm'),
                <Link to="/vms/$vmId" params={{ vmId }}>
                  {vmId}
                </Link>,
              ],
          result.bytesChecked === undefined
            ? null
            : [t('field.read'), format.bytes(result.bytesChecked)],
          result.damageCount === undefined
            ? null
            : [t('snapshot.damage'), format.number(result.damageCount)],
          result.bytesFreed === undefined
            ? null
            : [t('repository.free'), format.bytes(result.bytesFreed)],
        ]}
      />
      {[...(files ?? []), ...(notes ?? [])].map((line) => (
        <code key={line} className="kd-path">
          {line}
        </code>
      ))}
    </div>
  );
}
