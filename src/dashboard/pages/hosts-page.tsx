import type { Host } from '../../contract/hosts.ts';
import { useItems } from '../api.ts';
import { Empty } from '../parts/empty.tsx';
import { Facts } from '../parts/facts.tsx';
import { StateLabel } from '../parts/labels.tsx';
import { Loaded } from '../parts/loaded.tsx';
import { PageFrame } from '../parts/page-frame.tsx';
import { Panel } from '../parts/panel.tsx';
import { TimeText } from '../parts/time-text.tsx';
import { useFormat } from '../parts/use-format.ts';
import { useTexts } from '../texts/i18n.ts';
import { Note } from '../parts/note.tsx';

export function HostsPage(): React.ReactElement {
  const { t } = useTexts();
  const hosts = useItems('hostList', {}, { maxItems: 1000, everyMs: 30_000 });
  return (
    <PageFrame title={t('hosts.title')}>
      <Loaded query={hosts}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty title={t('hosts.empty')} body={t('hosts.emptyBody')} />
          ) : (
            <div className="kd-panels">
              {items.map((host) => (
                <HostPanel key={host.id} host={host} />
              ))}
            </div>
          )
        }
      </Loaded>
    </PageFrame>
  );
}

function HostPanel({ host }: { readonly host: Host }): React.ReactElement {
  const { t, word } = useTexts();
  const format = useFormat();
  const { description } = host;
  const hints = description?.memoryModeHints ?? [];
  return (
    <Panel title={host.name} actions={<StateLabel group="host-state" state={host.state} />}>
      <div className="kd-stack">
        {host.stateReason === null ? null : (
          <Note
            variant="danger"

            title={<span lang="en">{host.stateReason}</span>}
          />
        )}
        <Facts
          facts={[
            description === null
              ? null
              : [
                  t('host.software'),
                  t('host.versions', {
                    hypervisor: description.hypervisorVersion,
                    emulator: description.emulatorVersion,
                  }),
                ],
            description === null
              ? null
              : [
                  t('host.size'),
                  t('host.sizeText', {
                    cpus: description.cpus,
                    memory: format.bytes(description.memoryBytes),
                  }),
                ],
            description === null
              ? null
              : [
                  t('host.modes'),
                  description.memoryModes.map((mode) => word('memory-mode', mode)).join(', ') ||
                    t('common.none'),
                ],
            [t('host.vms'), format.number(host.vmCount)],
            [t('host.jobs'), format.number(host.runningJobs)],
            [t('host.seen'), <TimeText at={host.lastSeenAt} relative />],
          ]}
        />
        {hints.length === 0 ? null : (
          <Note variant="info" title={t('host.hints')}>
            {hints.map((hint) => (
              <p key={hint} lang="en">
                {hint}
              </p>
            ))}
          </Note>
        )}
      </div>
    </Panel>
  );
}
