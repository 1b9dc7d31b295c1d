import type { Vm } from '../../contract/vms.ts';
import type { DiskDescription } from '../../shared/inventory.ts';
import { useTexts } from '../texts/i18n.ts';
import { Facts } from './facts.tsx';
import { KeyValueLabels } from './labels.tsx';
import { TimeText } from './time-text.tsx';
import { useFormat } from './use-format.ts';
import { Note } from './note.tsx';

export function VmFacts({ vm }: { readonly vm: Vm }): React.ReactElement {
  const { t, word } = useTexts();
  const format = useFormat();
  const { description } = vm;
  return (
    <div className="kd-stack">
      <MemoryObstacles title={t('vm.obstacles')} reasons={description.memoryObstacles} />
      <MemoryObstacles title={t('vm.slowMemory')} reasons={description.backgroundObstacles} />
      <Facts
        facts={[
          [t('field.host'), vm.host.name],
          [t('field.memory'), format.bytes(description.memoryBytes)],
          [t('field.vcpus'), format.number(description.vcpus)],
          [t('field.agent'), word('agent', description.agent)],
          [t('field.firmware'), word('firmware', description.firmware)],
          [t('field.tpm'), description.tpm?.model ?? t('common.none')],
          [t('field.machine'), `${description.machineType} (${description.domainType})`],
          [t('field.labels'), <KeyValueLabels labels={vm.labels} />],
          [t('field.seen'), <TimeText at={vm.updatedAt} relative />],
        ]}
      />
    </div>
  );
}

function MemoryObstacles(props: {
  readonly title: string;
  readonly reasons: readonly string[];
}): React.ReactElement | null {
  if (props.reasons.length === 0) return null;
  return (
    <Note variant="info" title={props.title}>
      {props.reasons.map((reason) => (
        <p key={reason} lang="en">
          {reason}
        </p>
      ))}
    </Note>
  );
}

export function VmDisks(props: { readonly disks: readonly DiskDescription[] }): React.ReactElement {
  const { t } = useTexts();
  const format = useFormat();
  return (
    <ul className="kd-disks">
      {props.disks.map((disk) => (
        <li key={disk.target}>
          <div className="kd-inline">
            <strong>{disk.target}</strong>
            <span>
              {disk.format}, {format.bytes(disk.sizeBytes)}
            </span>
            <span className="kd-quiet">
              {t('field.allocated')} {format.bytes(disk.allocatedBytes)}
            </span>
          </div>
          {disk.path === null ? null : <code className="kd-path">{disk.path}</code>}
          {disk.obstacle === null ? null : (
            <div className="kd-quiet">
              {t('plan.skipped', { target: disk.target, reason: disk.obstacle.reason })}
            </div>
          )}
        </li>
      ))}
    </ul>
  );
}
